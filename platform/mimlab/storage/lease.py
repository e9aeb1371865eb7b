"""Exactly one driver writes to a submission: a lease with a fencing number.

It lies in the submission's `lease/`: see `mimlab.storage.exclusive`.
"""

from __future__ import annotations

from mimlab.errors import UserError
from mimlab.storage.exclusive import Exclusive
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import LeaseRecord, OwnerRecord, TrialState
from mimlab.storage.store import Store

RENEW_S = 2.0
"""How often a holder renews."""
EXPIRE_S = 15.0
"""How long a counter must stand still before a holder on another machine counts as dead."""

DRIVEN: frozenset[TrialState] = frozenset({"running", "probing"})
"""States that hold only while a driver lives."""
UNDER_WAY: frozenset[TrialState] = frozenset({"pending", *DRIVEN})


class LeaseLost(Exception):
    """Another driver has taken over: stop writing at once."""


def current(store: Store, submission_id: str) -> LeaseRecord | None:
    """The lease with the highest fencing number."""
    return _leases(SubmissionFolder(store, submission_id)).current()


class Lease:
    """A held lease. Renew it every `RENEW_S`; release it at the end."""

    def __init__(self, submission: SubmissionFolder, record: LeaseRecord) -> None:
        self._submission = submission
        self._record = record

    @property
    def fence(self) -> int:
        return self._record.fence

    def through(self, submission: SubmissionFolder) -> Lease:
        """The same lease, renewed and released in another view of the same storage."""
        return Lease(submission, self._record)

    def renew(self) -> None:
        """Raises LeaseLost if a higher fencing number exists."""
        check_fence(self._submission.store, self._submission.id, self.fence)
        self._record = self._record.model_copy(update={"counter": self._record.counter + 1})
        _leases(self._submission).write(self._record)

    def release(self) -> None:
        """Let the next driver in without waiting."""
        _leases(self._submission).write(self._record.model_copy(update={"released": True}))


def acquire(submission: SubmissionFolder, *, expire_s: float = EXPIRE_S) -> Lease:
    """Take the lease, waiting up to `expire_s` to see whether a silent holder is alive.

    Raises UserError, saying who holds it, if the holder lives or another driver was faster.
    """
    held = current(submission.store, submission.id)
    if held is not None and _alive(submission, held, expire_s):
        raise UserError(
            f"submission {submission.id} is being run by process {held.pid} on {held.host}; "
            "wait for it to end, stop it (Ctrl-C there), or start another with --new"
        )
    record = _leases(submission).take(held)
    if record is None:
        raise UserError(
            f"submission {submission.id} was taken by another driver this very moment; "
            "wait for it to end, or start another with --new"
        )
    return Lease(submission, record)


def driver_of(submission: SubmissionFolder) -> LeaseRecord | None:
    """Who is driving a submission, None if nobody is; waits as `acquire` does to see it."""
    held = current(submission.store, submission.id)
    return held if held is not None and _alive(submission, held, EXPIRE_S) else None


def claim(trial: TrialFolder, submission: SubmissionFolder) -> None:
    """Make a trial this submission's to run: equal trials of several submissions are one trial.

    Raises UserError if another submission that is being run has it and has not ended it.
    """
    path = trial.file("owner.json")
    owner = trial.store.read_record(path, OwnerRecord)
    if owner is not None and owner.submission != submission.id:
        other = SubmissionFolder(trial.store, owner.submission)
        held = current(trial.store, owner.submission)
        if trial.status().state in UNDER_WAY and held and _alive(other, held, EXPIRE_S):
            raise UserError(
                f"trial {trial.id} is part of submission {owner.submission} too, which process "
                f"{held.pid} on {held.host} is running; wait for it, its result is then reused"
            )
    owner = owner or OwnerRecord(submission=submission.id)
    trial.store.write_record(path, owner.model_copy(update={"submission": submission.id}))


def owns(submission: SubmissionFolder, trial: TrialFolder) -> bool:
    """Whether a trial is this submission's to run, and no other's by now."""
    owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    return owner is not None and owner.submission == submission.id


def begin_attempt(trial: TrialFolder, submission_id: str, attempt: int) -> int:
    """Shut out workers of the attempts before, which may outlive what started them.

    Returns its number: `attempt`, or a higher one where that was taken.
    """
    path = trial.file("owner.json")
    owner = trial.store.read_record(path, OwnerRecord) or OwnerRecord(submission=submission_id)
    number = max(attempt, owner.attempt + 1)
    begun = owner.model_copy(update={"submission": submission_id, "attempt": number})
    trial.store.write_record(path, begun)
    return number


def begin_group(trial: TrialFolder) -> int:
    """Shut out the workers before: one that was frozen, or cut off from the head alone, may outlive
    the group that Ray Train gave up. Returns the number of the group that begins."""
    path = trial.file("owner.json")
    owner = trial.store.read_record(path, OwnerRecord)
    if owner is None:
        raise LeaseLost(f"trial {trial.id}: nobody has begun it")
    trial.store.write_record(path, owner.model_copy(update={"group": owner.group + 1}))
    return owner.group + 1


def check_attempt(trial: TrialFolder, attempt: int, group: int | None = None) -> None:
    """Raises LeaseLost where a later attempt at the trial, or group of workers, was begun."""
    owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    if owner is None:
        return
    if owner.attempt > attempt:
        raise LeaseLost(f"trial {trial.id}: attempt {attempt} was superseded by {owner.attempt}")
    if group is not None and owner.group > group:
        raise LeaseLost(f"trial {trial.id}: workers {group} were superseded by {owner.group}")


def check_fence(store: Store, submission_id: str, fence: int) -> None:
    """Raises LeaseLost unless `fence` is still the highest number."""
    held = current(store, submission_id)
    if held is None or held.fence != fence:
        newest = "gone" if held is None else f"number {held.fence}, {held.host} pid {held.pid}"
        raise LeaseLost(f"submission {submission_id}: lease {fence} was superseded ({newest})")


def driven(store: Store, submission_id: str, fence: int, *, expire_s: float = EXPIRE_S) -> bool:
    """Whether the driver of that number lives: waits until it renews its lease, or for too long."""
    held = current(store, submission_id)
    if held is None or held.fence != fence:
        return False
    return _alive(SubmissionFolder(store, submission_id), held, expire_s)


def _alive(submission: SubmissionFolder, held: LeaseRecord, expire_s: float) -> bool:
    return _leases(submission).alive(held, expire_s)


def _leases(submission: SubmissionFolder) -> Exclusive:
    return Exclusive(submission.store, submission.file("lease"))
