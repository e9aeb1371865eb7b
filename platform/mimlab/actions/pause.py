"""Pause: as a stop, but a trial waits until it is resumed itself, whoever resumes the others."""

from __future__ import annotations

from mimlab.actions import audit
from mimlab.actions.launch import Launcher
from mimlab.actions.named import submission_in, trial_in
from mimlab.actions.stop import end_submission
from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.asked import ask
from mimlab.storage.records import DONE, RESTARTED
from mimlab.storage.store import Store


def pause_submission(
    store: Store, submission_id: str, by: str, launcher: Launcher | None = None
) -> str:
    """All trials save and end, the driver ends, and everything that it held is free.

    Raises UserError where nothing runs.
    """
    return end_submission(store, submission_id, by, "pause", launcher)


def pause_trial(store: Store, submission_id: str, trial_id: str, by: str) -> str:
    """One trial saves and gives its place to others, until `resume_trial` puts it back.

    Where no driver runs, the next one leaves it out. Raises UserError for a trial that has ended.
    """
    submission = submission_in(store, submission_id)
    trial = trial_in(submission, trial_id)
    state = trial.status().state
    if state in DONE | RESTARTED:
        raise UserError(f"trial {trial_id} is {state}: there is nothing to pause")
    ask(submission, "pause", by, trial_id)
    audit.record(store, by, "pause", trial_id, {"submission": submission_id})
    if state in lease.UNDER_WAY and lease.driver_of(submission) is not None:
        return f"trial {trial_id} saves a checkpoint and gives its place to others"
    return f"trial {trial_id} does not run, and is left out until it is resumed"
