"""What users ask of a submission and of its trials, written where its driver looks.

<storage>/submissions/<submission id>/asked/
    submission.json     of the whole submission
    <trial id>.json     of one trial

Any machine that sees the storage can ask. A request to pause stays until it is withdrawn, and so
does one of the whole submission: whatever would start its driver again by itself finds it there.
"""

from __future__ import annotations

from typing import Literal

from mimlab.storage.folders import SubmissionFolder, TrialFolder, now
from mimlab.storage.ownership import owner_of
from mimlab.storage.records import Record

WHOLE = "submission"
"""Name of a request of the whole submission, beside those by the ids of trials."""

Verb = Literal["stop", "pause", "resume"]


class Asked(Record):
    """One request."""

    what: Verb
    by: str
    """Who asks."""
    time: str
    """ISO 8601, UTC."""

    @property
    def reason(self) -> str:
        """As a trial's status says it."""
        return {"stop": "stopped", "pause": "paused", "resume": "resumed"}[self.what] + (
            f" by {self.by}"
        )


def ask(submission: SubmissionFolder, what: Verb, by: str, trial_id: str = WHOLE) -> None:
    """Ask for something, in the place of whatever was asked of the same before."""
    submission.store.write_record(_path(submission, trial_id), Asked(what=what, by=by, time=now()))


def asked_of(submission: SubmissionFolder) -> dict[str, Asked]:
    """Every request that stands, by the trial's id or `WHOLE`."""
    found: dict[str, Asked] = {}
    for name in submission.store.list(submission.file("asked")):
        request = submission.store.read_record(submission.file(f"asked/{name}"), Asked)
        if request is not None:  # withdrawn since it was listed
            found[name.removesuffix(".json")] = request
    return found


def asked_of_whole(submission: SubmissionFolder) -> Asked | None:
    """To stop or to pause all of it."""
    return submission.store.read_record(_path(submission, WHOLE), Asked)


def paused(submission: SubmissionFolder) -> dict[str, Asked]:
    """Trials that wait until somebody resumes them, by their ids, and who paused each."""
    return {
        name: request
        for name, request in asked_of(submission).items()
        if name != WHOLE and request.what == "pause"
    }


def pause_of(trial: TrialFolder) -> Asked | None:
    """Who has paused a trial of a submission that runs it, or ran it last; None: nobody."""
    owner = owner_of(trial)
    if owner is None:
        return None
    path = _path(SubmissionFolder(trial.store, owner), trial.id)
    request = trial.store.read_record(path, Asked)
    return request if request is not None and request.what == "pause" else None


def withdraw(submission: SubmissionFolder, trial_id: str = WHOLE) -> None:
    """Forget a request; there may be none."""
    submission.store.remove(_path(submission, trial_id))


def _path(submission: SubmissionFolder, name: str) -> str:
    return submission.file(f"asked/{name}.json")
