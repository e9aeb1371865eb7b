"""What a driver and its trials have said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter

from mimlab.actions.launch import Launcher
from mimlab.storage.folders import SubmissionFolder, TrialFolder


def log_lines(trial: TrialFolder) -> list[str]:
    """A trial's log, oldest first: a JSON object a line; in a bucket an object each."""
    store, path = trial.store, trial.file("log.jsonl")
    try:
        return store.read(path).decode(errors="replace").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        names = store.list(path)
    return [store.read(f"{path}/{name}").decode(errors="replace").rstrip() for name in names]


def told(line: str) -> str:
    """A line of a trial's log, for people: `12:30:05 resumed step=100`."""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict):
        return line
    details = [f"{k}={v}" for k, v in event.items() if k not in ("time", "pid", "event")]
    return " ".join([_clock(event.get("time")), str(event.get("event", "")), *details])


def submission_log(
    submission: SubmissionFolder, launchers: list[Launcher], lines: int
) -> Iterator[str]:
    """The driver's own words, where something that was launched kept them; else its trials' logs,
    merged by time."""
    for launcher in launchers:
        said = launcher.log_tail(submission.id, lines)
        if said:
            yield from said.splitlines()
            return
    merged = [
        (_time(line), f"{trial.id} {told(line)}")
        for trial in submission.trials()
        for line in log_lines(trial)
    ]
    merged.sort(key=itemgetter(0))  # of one moment as each trial has them
    yield from (line for _, line in (merged[-lines:] if lines else merged))


def _time(line: str) -> float:
    try:
        return float(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def _clock(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
