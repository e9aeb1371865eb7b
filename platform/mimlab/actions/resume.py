"""Resume: what was stopped, paused or interrupted goes on from its last checkpoints."""

from __future__ import annotations

import time

from mimlab.actions import audit
from mimlab.actions.bundle import bundled
from mimlab.actions.launch import Launcher
from mimlab.actions.named import submission_in, trial_in
from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.asked import ask, asked_of, asked_of_whole, paused, withdraw
from mimlab.storage.control import StopRequest, request_stop
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import DONE, RESTARTED
from mimlab.storage.store import Store

ANSWER_S, POLL_S = 5.0, 0.2
"""How long a driver's answer is waited for: it looks for requests every second."""


def resume_submission(
    store: Store, submission_id: str, by: str, *, launcher: Launcher, retry_failed: bool = False
) -> str:
    """Start a driver, on whatever cluster, with the code and the study that the folder holds.

    Trials that were paused by themselves wait on. Raises UserError where a driver runs, or where
    nothing is left to do.
    """
    folder = submission_in(store, submission_id)
    folder.record()
    driver = lease.driver_of(folder)
    if driver is not None:
        ending = "is about to end: " if asked_of_whole(folder) else ""
        raise UserError(
            f"submission {submission_id} {ending}is being run by process {driver.pid} on "
            f"{driver.host}; wait for it to end"
        )
    _refuse_done(folder, retry_failed=retry_failed)
    withdraw(folder)
    start_driver(folder, launcher, by, retry_failed=retry_failed)
    audit.record(store, by, "resume", submission_id, {"retry_failed": retry_failed})
    return f"submission {submission_id}: a driver is being started"


def resume_trial(
    store: Store,
    submission_id: str,
    trial_id: str,
    by: str,
    *,
    launcher: Launcher | None,
    retry_failed: bool = False,
    lost: bool = False,
) -> str:
    """Put one trial back: in the driver that runs, else in one that is started for it alone.

    `lost`: whether its heartbeat stands still though it counts as running: then what is left of it
    is asked to end first. Raises UserError where it runs, or has ended for good, or where a driver
    must be started and `launcher` is None.
    """
    submission = submission_in(store, submission_id)
    trial = trial_in(submission, trial_id)
    refuse_ended(trial, retry_failed=retry_failed)
    details = {"submission": submission_id, "retry_failed": retry_failed}
    said = ""
    if lease.driver_of(submission) is not None:
        if trial.status().state in lease.UNDER_WAY and trial_id not in asked_of(submission):
            if not lost:
                raise UserError(f"trial {trial_id} is being run, or waits for its turn")
            reason = f"lost; {by} resumes it"
            request_stop(trial, StopRequest(state="stopped", reason=reason))
        ask(submission, "resume", by, trial_id)
        said = _answer(submission, trial_id)
    if not said:
        if launcher is None:
            raise UserError(
                f"no driver runs submission {submission_id}; name what should start one, e.g. a "
                "cluster by --address"
            )
        withdraw(submission, trial_id)
        withdraw(submission)
        start_driver(submission, launcher, by, retry_failed=retry_failed, only=trial_id)
        said = f"trial {trial_id}: a driver is being started for it"
    audit.record(store, by, "resume", trial_id, details)
    return said


def _answer(submission: SubmissionFolder, trial_id: str) -> str:
    """What the driver that runs makes of a resume, in words; empty where it ended instead."""
    until = time.monotonic() + ANSWER_S
    while trial_id in asked_of(submission):
        if lease.driver_of(submission) is None:
            return ""
        if time.monotonic() > until:
            return (
                f"the driver of trial {trial_id}'s submission is asked to put it back, which it "
                "does once what is left of the trial has ended; should the driver end before, the "
                "submission's next resume does"
            )
        time.sleep(POLL_S)
    return f"trial {trial_id} is put back into the driver that runs its submission"


def start_driver(
    folder: SubmissionFolder,
    launcher: Launcher,
    by: str,
    *,
    retry_failed: bool = False,
    only: str | None = None,
) -> None:
    """Start a supervised driver of an existing submission, which writes nothing into the audit log:
    the action that asks for it does. Raises UserError."""
    words = ["supervise", folder.id, "--storage", str(folder.store.root), "--by", by]
    words += ["--retry-failed"] if retry_failed else []
    words += [] if only is None else ["--trial", only]
    try:
        code = folder.store.read(folder.file("code.zip"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder.store.place(folder.file('code.zip'))} is missing: the code that runs this "
            "submission; restore it"
        ) from error
    with bundled(code) as package:
        launcher.start(folder.id, words, package)


def refuse_ended(trial: TrialFolder, *, retry_failed: bool) -> None:
    """Raises UserError for a trial that a resume would not run."""
    status = trial.status()
    if status.state in DONE:
        raise UserError(
            f"trial {trial.id} is {status.state}; `mimlab extend {trial.id} --budget …` gives it "
            "more"
        )
    if status.state in RESTARTED and not retry_failed:
        raise UserError(
            f"trial {trial.id} is {status.state} ({status.reason}); --retry-failed starts it again"
        )


def _refuse_done(folder: SubmissionFolder, *, retry_failed: bool) -> None:
    waiting = paused(folder)
    states = {t.id: t.status().state for t in folder.trials() if t.id not in waiting}
    left = [s for s in states.values() if s not in DONE and (retry_failed or s not in RESTARTED)]
    if left or folder.store.exists(folder.file("space.json")):
        return
    failed = sum(state in RESTARTED for state in states.values())
    hints = [f"{failed} failed, which --retry-failed starts again"] if failed else []
    hints += [f"paused: {', '.join(waiting)}, to be resumed one by one"] if waiting else []
    raise UserError(
        f"submission {folder.id} has nothing left to do" + "".join(f"; {hint}" for hint in hints)
    )
