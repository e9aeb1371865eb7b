"""Something to launch."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest


class Launched(NamedTuple):
    """One start that was asked for."""

    submission_id: str
    words: list[str]
    files: dict[str, bytes]
    """Of the package that went along."""


class Recorder:
    """A launcher that starts nothing, and says that what it started waits."""

    def __init__(self) -> None:
        self.launched: list[Launched] = []
        self.states: dict[str, str] = {}
        self.stopped: list[str] = []

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        files: dict[str, bytes] = {}
        if working_dir is not None:
            with zipfile.ZipFile(working_dir) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        self.launched.append(Launched(submission_id, words, files))
        self.states[submission_id] = "pending"

    def state(self, submission_id: str) -> str | None:
        return self.states.get(submission_id)

    def log_tail(self, submission_id: str, lines: int) -> str:
        return "waiting"[:lines] if submission_id in self.states else ""

    def page(self, submission_id: str) -> None:
        """It has none."""

    def stop(self, submission_id: str) -> None:
        self.stopped.append(submission_id)
        self.states[submission_id] = "ended"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
