"""Stop: trials save a checkpoint and end as `stopped`, until somebody resumes them."""

from __future__ import annotations

from typing import Literal

from mimlab.actions import audit
from mimlab.actions.launch import Launcher
from mimlab.actions.named import submission_in, trial_in
from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.asked import ask
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store


def stop_submission(
    store: Store, submission_id: str, by: str, launcher: Launcher | None = None
) -> str:
    """Ask the driver to end, whatever machine it runs on; what comes of it, in words.

    `launcher`: what started it, where it may have yet to begin. Raises UserError where nothing
    runs.
    """
    return end_submission(store, submission_id, by, "stop", launcher)


def end_submission(
    store: Store,
    submission_id: str,
    by: str,
    what: Literal["stop", "pause"],
    launcher: Launcher | None,
) -> str:
    """Stop or pause a whole submission. Raises UserError where nothing runs."""
    folder = submission_in(store, submission_id)
    if not store.exists(folder.file("submission.json")):
        if launcher is None or launcher.state(submission_id) not in ("pending", "running"):
            folder.record()  # says what there is
        said = _stop_launched(launcher, submission_id)
    else:
        said = _end(folder, by, what, launcher)
    audit.record(store, by, what, submission_id)
    return said


def stop_trial(store: Store, submission_id: str, trial_id: str, by: str) -> str:
    """Ask for one trial's end; the others go on. Raises UserError where it does not run."""
    submission = submission_in(store, submission_id)
    trial = trial_in(submission, trial_id)
    state = trial.status().state
    if state not in lease.UNDER_WAY:
        raise UserError(f"trial {trial_id} is {state}: there is nothing to stop")
    driver = lease.driver_of(submission)
    if driver is None:
        raise UserError(
            f"no driver runs submission {submission_id}, so trial {trial_id} does not run; "
            f"`mimlab pause {trial_id}` leaves it out when the others are resumed"
        )
    ask(submission, "stop", by, trial_id)
    audit.record(store, by, "stop", trial_id, {"submission": submission_id})
    return f"trial {trial_id} saves a checkpoint and ends; the others go on"


def _end(
    folder: SubmissionFolder,
    by: str,
    what: Literal["stop", "pause"],
    launcher: Launcher | None,
) -> str:
    driver = lease.driver_of(folder)
    if driver is not None:
        ask(folder, what, by)
        place = f"process {driver.pid} on {driver.host}"
        return f"submission {folder.id}: its trials save and end, and then its driver, {place}"
    held = lease.current(folder.store, folder.id)
    died = held is not None and not held.released
    if died:
        ask(folder, what, by)
    if launcher is not None and launcher.state(folder.id) in ("pending", "running"):
        return _stop_launched(launcher, folder.id)
    if died:
        return (
            f"submission {folder.id}: its driver has died already; what would start it again by "
            "itself does not any more"
        )
    raise UserError(f"no driver runs submission {folder.id}: there is nothing to stop")


def _stop_launched(launcher: Launcher | None, submission_id: str) -> str:
    assert launcher is not None
    launcher.stop(submission_id)
    return f"submission {submission_id}: its job is stopped before its driver has begun"
