"""Starting a process and waiting until it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from mimlab.errors import UserError
from one_machine.record import Process

READY_S = 180.0
LAST_LINES = 15


@dataclass(frozen=True)
class Service:
    """What is started, and how one sees that it serves."""

    name: str
    command: list[str]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """Who runs it; None: whoever calls."""
    stop_signal: signal.Signals = signal.SIGTERM


def start(service: Service, logs: Path) -> Process:
    """Start it in a session of its own; its output goes to a file of its name."""
    log = logs / f"{service.name.replace(' ', '-')}.log"
    with log.open("ab") as stream:
        child = subprocess.Popen(
            service.command,
            env={**os.environ, **service.env},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=logs.parent,
            start_new_session=True,
            user=service.user,
            group=service.user,
            extra_groups=None if service.user is None else [],
        )
    return Process(
        name=service.name,
        pid=child.pid,
        born=psutil.Process(child.pid).create_time(),
        log=log,
        stop_signal=service.stop_signal,
    )


def wait(service: Service, process: Process, *, timeout_s: float = READY_S) -> None:
    """Return when it serves. Raises UserError with the last lines of its log if it does not."""
    deadline = time.monotonic() + timeout_s
    while not service.ready():
        if not process.alive:
            raise UserError(f"{service.name} ended at once; {_last_words(process.log)}")
        if time.monotonic() > deadline:
            raise UserError(
                f"{service.name} does not serve after {timeout_s:.0f} s; {_last_words(process.log)}"
            )
        time.sleep(0.3)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n  ".join([f"the end of {log}:", *lines])


def answers(url: str, *, token: str = "", contains: str = "") -> bool:
    """Whether a GET of `url` answers well, with `contains` somewhere in it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as got:
            return contains in got.read().decode(errors="replace")
    except (OSError, urllib.error.URLError):
        return False
