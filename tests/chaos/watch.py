"""What a running study shows from outside: its storage, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimlab.storage.folders import TrialFolder, submissions
from mimlab.storage.journal import read_points
from mimlab.storage.records import StatusRecord
from mimlab.storage.store import Store

LOOK_S = 0.2


class Watch:
    """The only trial of the only submission in a storage folder."""

    def __init__(self, storage: Path) -> None:
        self.store = Store(storage)

    @property
    def trial(self) -> TrialFolder | None:
        found = submissions(self.store)
        return found[0].trials()[0] if found else None

    @property
    def status(self) -> StatusRecord:
        trial = self.trial
        return trial.status() if trial else StatusRecord(state="pending")

    def checkpoints(self) -> list[int]:
        trial = self.trial
        return trial.steps("checkpoints") if trial else []

    @property
    def trained_s(self) -> float:
        """From the first point of the curves to the last."""
        trial = self.trial
        points = read_points(self.store, trial.file("journal")) if trial else []
        return (points[-1].time_ms - points[0].time_ms) / 1e3 if points else 0.0

    def events(self, name: str) -> list[dict[str, Any]]:
        """Lines of the trial's log."""
        trial = self.trial
        if trial is None or not self.store.exists(trial.file("log.jsonl")):
            return []
        lines = map(json.loads, self.store.read(trial.file("log.jsonl")).splitlines())
        return [line for line in lines if line["event"] == name]


def wait_for(met: Callable[[], bool], within_s: float) -> float | None:
    """Seconds until it was met; None where it was not."""
    began = time.monotonic()
    while not met():
        if time.monotonic() - began > within_s:
            return None
        time.sleep(LOOK_S)
    return time.monotonic() - began
