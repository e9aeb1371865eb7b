"""Exactly one driver writes to a submission: a lease with a fencing number.

Each holder creates `lease/<number>.json` exclusively; the highest number holds. A holder renews by
advancing a counter; whoever waits judges by whether the counter moves, not by anybody's clock.
"""

from __future__ import annotations

import os
import socket
import time

import psutil

from mimlab.errors import UserError
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import LeaseRecord, OwnerRecord, TrialState
from mimlab.storage.store import Store

RENEW_S = 2.0
"""How often a holder renews."""
EXPIRE_S = 15.0
"""How long a counter must stand still before a holder on another machine counts as dead."""

UNDER_WAY: frozenset[TrialState] = frozenset({"pending", "running", "probing"})


class LeaseLost(Exception):
    """Another driver has taken over: stop writing at once."""


def current(store: Store, submission_id: str) -> LeaseRecord | None:
    """The lease with the highest fencing number."""
    folder = f"submissions/{submission_id}/lease"
    names = store.list(folder)
    return store.read_record(f"{folder}/{names[-1]}", LeaseRecord) if names else None


class Lease:
    """A held lease. Renew it every `RENEW_S`; release it at the end."""

    def __init__(self, submission: SubmissionFolder, record: LeaseRecord) -> None:
        self._submission = submission
        self._record = record

    @property
    def fence(self) -> int:
        return self._record.fence

    def renew(self) -> None:
        """Raises LeaseLost if a higher fencing number exists."""
        check_fence(self._submission.store, self._submission.id, self.fence)
        self._record = self._record.model_copy(update={"counter": self._record.counter + 1})
        self._submission.store.write_record(_path(self._submission, self.fence), self._record)

    def release(self) -> None:
        """Let the next driver in without waiting."""
        record = self._record.model_copy(update={"released": True})
        self._submission.store.write_record(_path(self._submission, self.fence), record)


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
    record = LeaseRecord(
        fence=(held.fence if held else 0) + 1,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        counter=0,
    )
    if not submission.store.create(_path(submission, record.fence), record.to_bytes()):
        raise UserError(
            f"submission {submission.id} was taken by another driver this very moment; "
            "wait for it to end, or start another with --new"
        )
    return Lease(submission, record)


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
    trial.store.write_record(path, OwnerRecord(submission=submission.id))


def check_fence(store: Store, submission_id: str, fence: int) -> None:
    """Raises LeaseLost unless `fence` is still the highest number."""
    held = current(store, submission_id)
    if held is None or held.fence != fence:
        newest = "gone" if held is None else f"number {held.fence}, {held.host} pid {held.pid}"
        raise LeaseLost(f"submission {submission_id}: lease {fence} was superseded ({newest})")


def _alive(submission: SubmissionFolder, held: LeaseRecord, expire_s: float) -> bool:
    if held.released:
        return False
    if held.host == socket.gethostname():
        return _process_alive(held)
    deadline = time.monotonic() + expire_s
    while time.monotonic() < deadline:
        time.sleep(min(0.5, expire_s))
        seen = current(submission.store, submission.id)
        if seen is not None and (seen.fence, seen.counter) != (held.fence, held.counter):
            return not seen.released
    return False


def _process_alive(held: LeaseRecord) -> bool:
    try:
        process = psutil.Process(held.pid)
        same = abs(process.create_time() - held.process_started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _path(submission: SubmissionFolder, fence: int) -> str:
    return submission.file(f"lease/{fence:06d}.json")
