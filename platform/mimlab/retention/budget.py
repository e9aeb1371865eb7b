"""`resources.max_disk`: the driver keeps the files of its trials within it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from mimlab.errors import UserError
from mimlab.repeated import repeated
from mimlab.retention.removal import carry_out
from mimlab.retention.rules import TrialSnapshot, over_budget
from mimlab.retention.snapshot import milestones_of, snapshot
from mimlab.spec.study import trial_spec
from mimlab.spec.sweep import Asha, Median
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import TrialRecord

POLL_S = 15.0
"""Between two looks; a look lists the trials' folders."""
GB = 10**9


class DiskBudget:
    """Removes what may go while the trials of a submission take more than they may.

    Only of trials that this submission runs. Where nothing more may go, trials are started and go
    on all the same, because one that waits would free nothing; `note` says it.
    """

    def __init__(
        self,
        submission: SubmissionFolder,
        *,
        limit_bytes: int | None,
        stopping: Asha | Median | None,
        max_epochs: float,
        unprobed: Callable[[TrialFolder], Mapping[int, object]],
    ) -> None:
        """`unprobed` gives the steps of a trial's exports that are to be probed."""
        self.note = ""
        """That nothing more may go, in words; empty while all is well."""
        self._submission = submission
        self._limit = limit_bytes
        self._milestones = milestones_of(stopping, max_epochs)
        self._unprobed = unprobed

    @contextlib.contextmanager
    def watched(self, trials: Callable[[], Sequence[TrialRecord]]) -> Iterator[None]:
        """Meanwhile, look every now and then; and once at the end."""
        if self._limit is None:
            yield
            return

        def look() -> bool:
            with contextlib.suppress(OSError, UserError):  # at the next look
                self.enforce(trials())
            return False

        try:
            with repeated(look, every_s=POLL_S, name="disk-budget"):
                yield
        finally:
            look()

    def enforce(self, records: Sequence[TrialRecord]) -> int:
        """Remove what must go; the bytes that were. Raises OSError, and UserError for a folder that
        cannot be read."""
        if self._limit is None:
            return 0
        found = self._snapshots(records)
        freed = 0
        for verdict in over_budget(found, self._limit):
            if carry_out(TrialFolder(self._submission.store, verdict.trial), verdict):
                freed += verdict.saved.num_bytes
        left = sum(trial.num_bytes for trial in found) - freed
        self.note = self._exceeded(left) if left > self._limit else ""
        return freed

    def _snapshots(self, records: Sequence[TrialRecord]) -> list[TrialSnapshot]:
        store = self._submission.store
        own = [(TrialFolder(store, record.id), record) for record in records]
        return [
            snapshot(
                trial,
                trial_spec(record.resolved),
                store.sizes(trial.path),
                milestones=self._milestones,
                unprobed=frozenset(self._unprobed(trial)),
            )
            for trial, record in own
            if lease.owns(self._submission, trial)
        ]

    def _exceeded(self, num_bytes: int) -> str:
        assert self._limit is not None
        return (
            f"disk: the trials take {num_bytes / GB:.3g} of {self._limit / GB:.3g} GB "
            "(resources.max_disk), and the rest is needed: they go on"
        )
