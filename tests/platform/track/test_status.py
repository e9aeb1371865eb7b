"""MLflow's statuses are true whatever happened."""

from typing import get_args

import pytest

from mimlab.storage.records import TrialState
from mimlab.track.status import submission_status, trial_status


@pytest.mark.parametrize("state", get_args(TrialState))
def test_nothing_runs_once_the_driver_has_left(state: TrialState) -> None:
    assert trial_status(state, left=True) != "RUNNING"
    assert submission_status([state], left=True) in {"FINISHED", "FAILED", "KILLED"}


@pytest.mark.parametrize(
    ("states", "left", "status"),
    [
        (["finished", "pruned"], False, "FINISHED"),
        (["finished", "pending"], False, "RUNNING"),
        (["failed", "probing"], False, "RUNNING"),
        (["failed", "finished"], False, "FAILED"),
        (["diverged", "preempted"], True, "FAILED"),
        (["preempted", "finished"], True, "KILLED"),
        (["pending", "finished"], True, "KILLED"),
        ([], False, "RUNNING"),
        ([], True, "FINISHED"),
    ],
)
def test_a_submission_is_what_its_trials_are(
    states: list[TrialState], left: bool, status: str
) -> None:
    assert submission_status(states, left=left) == status
