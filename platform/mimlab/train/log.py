"""One structured log a trial: a JSON object per line, appended."""

from __future__ import annotations

import json
import os
import time

from mimlab.storage.folders import TrialFolder

LogValue = str | int | float | bool | None


class TrialLog:
    """Appends events to a trial's `log.jsonl`; each line says when, which process, what."""

    def __init__(self, trial: TrialFolder) -> None:
        self._trial = trial

    def write(self, event: str, details: dict[str, LogValue] | None = None) -> None:
        """Append one event with its details."""
        line = {"time": round(time.time(), 3), "pid": os.getpid(), "event": event}
        self._trial.store.append(self._trial.file("log.jsonl"), json.dumps(line | (details or {})))
