"""A Ray cluster of several nodes on one machine: real `ray start` processes that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

READY_S = 60.0
RAY = (sys.executable, "-m", "ray.scripts.scripts")


class Node:
    """One `ray start`, in a session of its own: a head, or what joins one."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*RAY, "start", "--block", *arguments],
                env=env,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
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


class Nodes:
    """A head and `count` nodes that join it; each kind can be killed and started again."""

    def __init__(self, folder: Path, *, count: int, cpus: int) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._count, self._cpus = count, cpus
        self._dashboard_port = free_port()
        self._started = 0
        self._env = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        self.head: Node | None = None
        self.joined: list[Node] = []

    @property
    def client_env(self) -> dict[str, str]:
        """What a driver needs to join."""
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "disabled"}

    def start(self) -> None:
        """Start whatever of it does not run. Returns when the head answers."""
        if self.head is None or not self.head.alive:
            self.head = self._node(
                "--head",
                "--num-cpus=0",  # as a cluster's head has it, so that nodes are what trains
                f"--port={self.port}",
                f"--dashboard-port={self._dashboard_port}",
                "--include-dashboard=true",
            )
            _await_port(self.port)
        self.joined = [node for node in self.joined if node.alive]
        while len(self.joined) < self._count:
            self.joined.append(self._node(f"--address={self.address}", f"--num-cpus={self._cpus}"))

    def stop(self) -> None:
        """End everything; nothing of it is left."""
        for node in (*self.joined, self.head):
            if node is not None:
                node.kill()
        self.joined, self.head = [], None

    def processes(self, title: str) -> Iterator[psutil.Process]:
        """Those of the cluster's processes whose title begins so."""
        for node in (self.head, *self.joined):
            for process in node.processes() if node else ():
                with contextlib.suppress(psutil.Error):
                    command = process.cmdline()
                    if command and command[0].startswith(title):
                        yield process

    def node_of(self, process: psutil.Process) -> Node | None:
        """Which joined node a process belongs to; None: the head."""
        return next((node for node in self.joined if node.owns(process)), None)

    def _node(self, *arguments: str) -> Node:
        self._started += 1
        # A folder of its own, as on a machine of its own: nodes remove what others unpack there.
        temporary = self._folder / f"ray{self._started}"
        common = [
            "--object-store-memory=300000000",
            f"--temp-dir={temporary}",
            f"--dashboard-agent-listen-port={free_port()}",
        ]
        return Node([*arguments, *common], self._env, self._folder / "ray.log")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _await_port(port: int) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"no head answered at port {port} within {READY_S:.0f} s")
