"""Ports: free ones, and who has one that is taken."""

from __future__ import annotations

import contextlib
import socket

import psutil

from mimlab.errors import UserError
from one_machine.settings import Ports


def ports_of(said: list[str]) -> Ports:
    """The ports of `ray=6380`, …; the others are as usual. Raises UserError."""
    chosen: dict[str, int] = {}
    for text in said:
        name, _, port = text.partition("=")
        if name not in Ports.model_fields or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise UserError(
                f"--port {text}: expected NAME=PORT, NAME one of {', '.join(Ports.model_fields)}"
            )
        chosen[name] = int(port)
    return Ports(**chosen)


def refuse_taken(ports: Ports) -> None:
    """Raises UserError that names each port that somebody listens on, and who."""
    taken = [
        f"port {port} ({name}) is taken{_by(port)}" for name, port in ports if not _is_free(port)
    ]
    if taken:
        raise UserError(f"{'; '.join(taken)}; end what holds it, or choose another by --port")
    if len({port for _, port in ports}) < len(Ports.model_fields):
        raise UserError("two services have the same port; give each its own")


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _by(port: int) -> str:
    """` by python, process 71`; empty where the system does not tell."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()}, process {connection.pid}"
    return ""
