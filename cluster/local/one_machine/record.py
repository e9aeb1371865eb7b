"""What runs, written down so that `down` ends this and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from one_machine.settings import Settings

NAME = "cluster.json"
STOP_S = 20.0


class Process(BaseModel):
    """One service, which leads a session of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    pid: int
    born: float
    """Seconds since 1970; tells a reused pid from the service."""
    log: Path
    stop_signal: int = signal.SIGTERM

    @property
    def alive(self) -> bool:
        return self._leader() is not None

    def _leader(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.born) < 1 and _runs(found):
                return found
        return None

    def stop(self) -> None:
        """End it and everything that it has started. Returns when all of it is gone."""
        leader = self._leader()
        members: list[psutil.Process] = []
        if leader is not None:
            members = [leader, *leader.children(recursive=True)]
            leader.send_signal(self.stop_signal)
            _wait([leader], STOP_S)
        members = _wait([*members, *_session(self.pid)], 0.0)
        for ask in (psutil.Process.terminate, psutil.Process.kill):
            for member in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    ask(member)
            members = _wait(members, STOP_S / 2)


def _runs(process: psutil.Process) -> bool:
    """Whether it does; one that ended and that nobody asked after does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that still run after so long; returns as soon as none does."""
    deadline = time.monotonic() + timeout_s
    while (left := [each for each in processes if _runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _session(leader: int) -> list[psutil.Process]:
    """Whoever else is in the session, also where its leader is gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if process.pid != leader and os.getsid(process.pid) == leader:
                found.append(process)
    return found


class Record(BaseModel):
    """Everything that `up` has started, in that order."""

    model_config = ConfigDict(extra="forbid")

    settings: Settings
    processes: list[Process] = []

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """What is written down in `folder`; None where nothing was started there."""
        file = folder / NAME
        return cls.model_validate_json(file.read_bytes()) if file.exists() else None

    def write(self) -> None:
        """By a rename, so that nobody reads half of it."""
        file = self.settings.folder / NAME
        fresh = file.with_suffix(".new")
        fresh.write_text(self.model_dump_json(indent=1) + "\n")
        fresh.replace(file)

    def stop(self) -> list[str]:
        """End all services, the last one first; the names of those that ran."""
        ran = [process.name for process in self.processes if process.alive]
        for process in reversed(self.processes):
            process.stop()
        (self.settings.folder / NAME).unlink(missing_ok=True)
        return ran
