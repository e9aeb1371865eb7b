"""A node of a Ray cluster: a real `ray start` that can be killed with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from one_machine.ports import free_port

OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
"""The environment of a cluster that whoever reaches it may use."""


class RayNode:
    """One `ray start`, in a session of its own: a head, or what joins one.

    `temporary` is a folder of the node's own, as on a machine of its own: nodes remove what others
    unpack there. Ray's sockets lie below it, and their paths have a limit of 107 bytes.
    """

    def __init__(
        self, arguments: list[str], *, temporary: Path, env: Mapping[str, str], log: Path
    ) -> None:
        command = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments)
        own = (f"--temp-dir={temporary}", f"--dashboard-agent-listen-port={free_port()}")
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*command, *own], env=env, stdout=stream, stderr=stream, start_new_session=True
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Everything that the node has started, and `ray start` itself."""
        try:
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def owns(self, process: psutil.Process) -> bool:
        return any(process.pid == mine.pid for mine in self.processes())

    def kill(self) -> None:
        """kill -9 of all of it at once, as when a machine is gone."""
        dying = self.processes()
        for process in dying:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(dying, timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
