"""What a user names: a submission, a study for its latest one, or a trial."""

from __future__ import annotations

from typing import NamedTuple

from mimlab.errors import UserError
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.ownership import find_named, owner_of, submission_of
from mimlab.storage.store import Store


class Target(NamedTuple):
    """A submission, or one trial of it."""

    submission: SubmissionFolder
    trial: TrialFolder | None


def submission_in(store: Store, submission_id: str) -> SubmissionFolder:
    """The folder of an id, which need not be there. Raises UserError for what is no id."""
    return SubmissionFolder(store, _plain(submission_id))


def target_of(store: Store, name: str) -> Target:
    """Raises UserError, with what there is, for a name of neither."""
    trial = TrialFolder(store, _plain(name))
    if store.exists(trial.file("trial.json")):
        return Target(submission_of(trial), trial)
    return Target(find_named(store, name), None)


def trial_in(submission: SubmissionFolder, trial_id: str) -> TrialFolder:
    """A trial that a submission runs. Raises UserError where it has none of that id, or where
    another submission runs it."""
    known = {trial.id: trial for trial in submission.trials()}
    if trial_id not in known:
        raise UserError(f"submission {submission.id} has no trial {trial_id!r}")
    owner = owner_of(known[trial_id])
    if owner not in (None, submission.id):
        raise UserError(
            f"trial {trial_id} is part of submission {submission.id}, and {owner} runs it, or ran "
            "it last; name that one"
        )
    return known[trial_id]


def _plain(name: str) -> str:
    """A name that leads to nowhere else. Raises UserError."""
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise UserError(f"{name!r} is no id of a submission or a trial")
    return name
