"""What MLflow's five run statuses say about a trial and a submission."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from mimlab.storage.records import DONE, TrialState

RunStatus = Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]

ENDED: frozenset[RunStatus] = frozenset({"FINISHED", "FAILED", "KILLED"})
ACTIVE: frozenset[TrialState] = frozenset({"running", "probing"})
"""States that need a living process."""

_RUN_STATUS: dict[TrialState, RunStatus] = {
    "pending": "SCHEDULED",
    "running": "RUNNING",
    "probing": "RUNNING",
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "stopped": "KILLED",
    "preempted": "KILLED",
    "failed": "FAILED",
    "diverged": "FAILED",
}


def trial_status(state: TrialState, *, left: bool) -> RunStatus:
    """A child run's status; `left`: the driver ends, so what claims to run does not."""
    return "KILLED" if left and state in ACTIVE else _RUN_STATUS[state]


def submission_status(states: Iterable[TrialState], *, left: bool) -> RunStatus:
    """The parent run's status, from its trials: running while one may go on, or none has come."""
    states = set(states)
    if not left and (not states or states & (ACTIVE | {"pending"})):
        return "RUNNING"
    if states & {"failed", "diverged"}:
        return "FAILED"
    return "FINISHED" if states <= DONE else "KILLED"
