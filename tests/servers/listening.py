"""Whether something answers at a port of this machine yet."""

from __future__ import annotations

import socket
import time


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def await_port(port: int, seconds: float) -> None:
    """Raises TimeoutError if nothing listens there within `seconds`."""
    deadline = time.monotonic() + seconds
    while not listens(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens at port {port} after {seconds:.0f} s")
        time.sleep(0.05)
