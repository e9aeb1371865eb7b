"""Which trials a driver starts or goes on with, and which of them it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimlab.search.open_trials import OpenTrials
from mimlab.storage import control, lease
from mimlab.storage.control import StopRequest
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import StatusRecord, TrialState


class Submitted:
    """A submission of two trials, which it owns."""

    def __init__(self, made: Any) -> None:
        self.folder = made.submission
        self.data = made.data
        self.first, self.second = made.submission.trials()
        for trial in (self.first, self.second):
            lease.claim(trial, self.folder)

    def open(self, *, only: tuple[TrialFolder, ...] = (), retry_failed: bool = False) -> OpenTrials:
        return OpenTrials(
            self.folder,
            {record.id: record for record in self.folder.trial_records()},
            self.data,
            only=frozenset(trial.id for trial in only),
            retry_failed=retry_failed,
        )


@pytest.fixture
def submitted(tmp_path: Path, create_tiny: Callable[..., Any]) -> Submitted:
    return Submitted(create_tiny(tmp_path, "sweep={axes: {masking.ratio: [0.5, 0.75]}}"))


def ids(trials: OpenTrials) -> list[str]:
    return [trial.id for trial in trials]


@pytest.mark.parametrize(
    ("state", "again", "anew"),
    [
        ("pending", True, True),
        ("running", True, True),
        ("stopped", True, True),
        ("finished", False, False),
        ("pruned", False, False),
        ("failed", False, True),
        ("diverged", False, True),
    ],
)
def test_states(submitted, state: TrialState, again: bool, anew: bool) -> None:
    submitted.first.write_status(StatusRecord(state=state))
    assert (submitted.first in submitted.open()) is again
    assert (submitted.first in submitted.open(retry_failed=True)) is anew


def test_a_run_for_one_trial_leaves_the_others(submitted) -> None:
    assert ids(submitted.open(only=(submitted.second,))) == [submitted.second.id]


@pytest.mark.parametrize("why", ["paused", "not wanted"])
def test_what_is_resumed_during_the_run_is_open_whatever_was_before(submitted, why: str) -> None:
    trials = submitted.open(only=(submitted.second,) if why == "not wanted" else ())
    if why == "paused":
        trials.paused = frozenset({submitted.first.id})
    assert submitted.first not in trials
    trials.put_back(submitted.first)
    assert submitted.first in trials
    submitted.first.write_status(StatusRecord(state="stopped", reason="its process left it"))
    assert submitted.first.id in trials.left()


def test_left_is_what_nobody_asked_to_end(submitted) -> None:
    for trial in (submitted.first, submitted.second):
        trial.write_status(StatusRecord(state="stopped"))
    control.request_stop(submitted.second, StopRequest(state="stopped", reason="stopped by ada"))
    assert submitted.open().left() == [submitted.first.id]


def test_what_another_submission_runs_by_now_was_not_left(submitted, tmp_path, create_tiny) -> None:
    other = create_tiny(tmp_path, "sweep={axes: {masking.ratio: [0.5, 0.75]}}", "question=Again?")
    submitted.first.write_status(StatusRecord(state="stopped"))
    lease.claim(submitted.first, other.submission)
    submitted.first.write_status(StatusRecord(state="running"))
    assert submitted.first.id not in submitted.open().left()
