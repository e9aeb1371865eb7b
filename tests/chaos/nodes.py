"""A Ray cluster of several nodes on one machine: real `ray start` processes that can be killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from listening import await_port
from ray_node import OPEN, RayNode

from one_machine.ports import free_port

READY_S = 60.0


class Nodes:
    """A head and `count` nodes that join it; each kind can be killed and started again."""

    def __init__(self, folder: Path, *, count: int, cpus: int) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._count, self._cpus = count, cpus
        self._dashboard_port = free_port()
        self._started = 0
        self._env = os.environ | OPEN
        self.head: RayNode | None = None
        self.joined: list[RayNode] = []

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
            await_port(self.port, READY_S)
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

    def node_of(self, process: psutil.Process) -> RayNode | None:
        """Which joined node a process belongs to; None: the head."""
        return next((node for node in self.joined if node.owns(process)), None)

    def _node(self, *arguments: str) -> RayNode:
        self._started += 1
        return RayNode(
            [*arguments, "--object-store-memory=300000000"],
            temporary=self._folder / f"ray{self._started}",
            env=self._env,
            log=self._folder / "ray.log",
        )
