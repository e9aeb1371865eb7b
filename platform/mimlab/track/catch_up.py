"""Telling MLflow what drivers that are gone have left: what `mimlab sync` does."""

from __future__ import annotations

import functools

from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.folders import SubmissionFolder, TrialFolder, submissions
from mimlab.storage.lease import current, driver_of
from mimlab.storage.ownership import find_named, owner_of, submission_of
from mimlab.storage.store import Store
from mimlab.track.refused import Refused
from mimlab.track.sent import Sent
from mimlab.track.settings import prepare_client


class MlflowAway(Exception):
    """MLflow does not answer, or not any more; the message says where and how."""


def meant(store: Store, names: list[str]) -> list[SubmissionFolder]:
    """The submissions of the names of submissions, studies and trials; all where none is named.

    Raises UserError for a name that there is not, and where there is no submission.
    """
    trials = set(store.list("trials")) if names else set()
    found = [
        submission_of(TrialFolder(store, name)) if name in trials else find_named(store, name)
        for name in names
    ]
    if not names and not (found := submissions(store)):
        raise UserError(f"{store.root}: there is no submission; name the results with --storage")
    return list({folder.id: folder for folder in found}.values())


def driven_by(submission: SubmissionFolder) -> str:
    """Who drives the submission and so tells MLflow itself; empty where nobody does."""
    held = driver_of(submission)
    return f"process {held.pid} on {held.host}" if held else ""


def catch_up(submission: SubmissionFolder, uri: str, sent: Sent) -> list[str]:
    """Send what MLflow at `uri` lacks of a submission that nobody drives.

    Takes no lease: it only reads results, and a driver may begin at any time; it then leaves the
    statuses as that driver has them.

    Args:
        submission: the submission; only links to runs are written to it.
        uri: where to; resolved (`mimlab.track.uri.resolve_tracking`).
        sent: is told what MLflow had not, also where this ends in an error.

    Returns:
        What could not be sent though MLflow answers, a line each.

    Raises:
        MlflowAway: MLflow does not answer, or is gone.
        UserError, RemoteError: the storage cannot be read.
    """
    prepare_client()
    from mimlab.track.client import words  # imports mlflow: seconds
    from mimlab.track.session import Session

    record = submission.record()
    trials = [trial.record() for trial in submission.trials()]
    refused = Refused()
    try:
        session = Session(submission.store, uri, record, refused, sent)
        errors = session.show(trials, left=True, driven=Drivers(submission).drives)
    except (UserError, RemoteError):
        raise
    except Exception as error:
        raise MlflowAway(f"MLflow at {uri}: {words(error)}") from error
    return [*errors, *refused.words]


class Drivers:
    """Who drives what is shown, while it is sent."""

    def __init__(self, submission: SubmissionFolder) -> None:
        self._submission = submission
        self._before = current(submission.store, submission.id)
        self._lives = functools.cache(self._lives_now)

    def drives(self, id_: str) -> bool:
        """Whether a driver runs the submission or the trial of this id."""
        store = self._submission.store
        now = current(store, self._submission.id)
        if now != self._before and now is not None and not now.released:
            return True
        owner = None if id_ == self._submission.id else owner_of(TrialFolder(store, id_))
        return owner not in (None, self._submission.id) and self._lives(owner)

    def _lives_now(self, submission_id: str) -> bool:
        return driver_of(SubmissionFolder(self._submission.store, submission_id)) is not None
