"""Fork: a new trial of its own submission, from a checkpoint of another one."""

from __future__ import annotations

from collections.abc import Sequence

from mimlab.actions import audit
from mimlab.actions.forking import Fork, forked
from mimlab.actions.launch import Launcher
from mimlab.actions.named import target_of
from mimlab.actions.resume import start_driver
from mimlab.errors import NotNow, UserError
from mimlab.search.submission import StudyFile, new_submission, write_submission
from mimlab.spec.study import Study
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.forks import announce
from mimlab.storage.store import Store


def fork(
    store: Store,
    trial_id: str,
    changes: list[str],
    *,
    step: int | None = None,
    launcher: Launcher,
    by: str,
) -> str:
    """Start a trial that goes on from another one's checkpoint; the id of its submission.

    Args:
        store: the storage of both.
        trial_id: the parent, which is not touched, and may be running.
        changes: `path=value`, as `--set` takes them.
        step: of the parent's checkpoint; by default the newest.
        launcher: what runs it.
        by: whose it is.

    Raises UserError before anything is written: for changes that are not legal, that change
    nothing, or that no checkpoint fits.
    """
    target = target_of(store, trial_id)
    if target.trial is None:
        raise UserError(f"{trial_id} is a submission, and a fork starts from one trial; name that")
    found = forked(target.submission, target.trial, changes, step)
    submission = write_forks(store, found.loaded.study, found.loaded, [found], by=by)
    details = {"submission": submission.id, "trial": found.record.id, "changes": changes}
    step_taken = {"step": found.record.parent_step}
    audit.record(store, by, "fork", trial_id, details | step_taken)
    start_forks(submission, launcher, by)
    return submission.id


def start_forks(submission: SubmissionFolder, launcher: Launcher, by: str) -> None:
    """Start what `write_forks` has made. Raises UserError that says what else starts it."""
    try:
        start_driver(submission, launcher, by)
    except (UserError, NotNow) as error:  # the same command would write it once more
        raise UserError(
            f"{error}; it is written all the same: `mimlab resume {submission.id}` starts it later"
        ) from error


def write_forks(
    store: Store, study: Study, file: StudyFile, forks: Sequence[Fork], *, by: str
) -> SubmissionFolder:
    """A submission of forks, whose parents keep the checkpoints that they start from. Raises
    UserError where a fork is there already."""
    for made in forks:
        trial = TrialFolder(store, made.record.id)
        if store.exists(trial.file("trial.json")):
            raise UserError(
                f"the same fork of trial {made.record.parent} is there already: trial {trial.id}, "
                f"which is {trial.status().state}; `mimlab resume` or `mimlab extend` goes on with "
                "it"
            )
    for made in forks:
        record = made.record
        assert record.parent is not None and record.parent_step is not None
        announce(TrialFolder(store, record.parent), record.id, record.parent_step)
    submission = new_submission(store, study.study)
    write_submission(submission, study, [made.record for made in forks], file, user=by)
    return submission
