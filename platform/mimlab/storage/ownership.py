"""Which submission a trial belongs to, of all those that it is part of."""

from __future__ import annotations

import difflib

from mimlab.errors import UserError
from mimlab.storage.folders import SubmissionFolder, TrialFolder, find_submission, submissions
from mimlab.storage.records import OwnerRecord
from mimlab.storage.store import Store

_SHOWN = 3


def owner_of(trial: TrialFolder) -> str | None:
    """The id of the submission that runs the trial, or ran it last; None where none has."""
    owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    return owner and owner.submission


def submission_of(trial: TrialFolder) -> SubmissionFolder:
    """The trial's owner, else the latest submission that lists it. Raises UserError."""
    owner = owner_of(trial)
    if owner is not None:
        return SubmissionFolder(trial.store, owner)
    for submission in reversed(submissions(trial.store)):
        if trial.id in [other.id for other in submission.trials()]:
            return submission
    raise UserError(f"trial {trial.id}: no submission in {trial.store.root} lists it")


def find_named(store: Store, name: str) -> SubmissionFolder:
    """A submission, or a study's latest, of that name. Raises UserError, naming trials as well."""
    try:
        return find_submission(store, name)
    except UserError as error:
        trials = store.list("trials")
        near = difflib.get_close_matches(name, trials, n=_SHOWN, cutoff=0.5) or trials[:_SHOWN]
        known = ", ".join(near) or "none yet"
        raise UserError(
            f"{error}; nor a study or a trial of that name, trials are: {known}"
        ) from error
