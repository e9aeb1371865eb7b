"""One structured log a trial: a JSON object per line, appended."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from typing import Protocol, runtime_checkable

from mimlab.storage.folders import TrialFolder

LogValue = str | int | float | bool | list[str] | None

MOST_WAITING = 1000
"""Lines that wait for the storage to come back; older ones are lost then."""


@runtime_checkable
class EventLog(Protocol):
    """Takes what happens to a trial."""

    def write(self, event: str, details: dict[str, LogValue] | None = None) -> None:
        """Add one event with its details."""


class TrialLog:
    """Appends events to a trial's `log.jsonl`; each line says when, which process, what.

    What cannot be written now waits for the next event: a log must not end what it tells of.
    """

    def __init__(self, trial: TrialFolder) -> None:
        self._store = trial.store.at_once()
        self._path = trial.file("log.jsonl")
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)

    def write(self, event: str, details: dict[str, LogValue] | None = None) -> None:
        """Append one event with its details."""
        line = {"time": round(time.time(), 3), "pid": os.getpid(), "event": event}
        self._waiting.append(json.dumps(line | (details or {})))
        with contextlib.suppress(OSError, IndexError):  # another thread may write it
            while self._waiting:
                self._append(self._waiting.popleft())

    def _append(self, line: str) -> None:
        try:
            self._store.append(self._path, line)
        except OSError:
            self._waiting.appendleft(line)
            raise


class SilentLog:
    """Writes nothing: for whoever only looks at a trial."""

    def write(self, event: str, details: dict[str, LogValue] | None = None) -> None:
        """Nothing."""
