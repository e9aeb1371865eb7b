"""Which trials of a submission still have something to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mimlab.data.manifest import DataSet
from mimlab.probe.base import Probe
from mimlab.probe.due import due_of, reads_of, unanswered
from mimlab.spec.study import trial_spec
from mimlab.storage import control, lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import DONE, RESTARTED, TrialRecord


class OpenTrials:
    """Those that a run starts or goes on with."""

    def __init__(
        self,
        submission: SubmissionFolder,
        records: Mapping[str, TrialRecord],
        data: DataSet,
        *,
        only: frozenset[str],
        retry_failed: bool,
    ) -> None:
        """`records`: the trials as this submission has them, by their ids, which an adaptive search
        adds to; `only`: ids of those that the run is for, empty: all; `retry_failed`: whether
        failed and diverged ones start again."""
        self.paused: frozenset[str] = frozenset()
        """Ids of those that wait until they are resumed, since before the run."""
        self._submission = submission
        self._records = records
        self._data = data
        self._only = only
        self._retry_failed = retry_failed
        self._back: set[str] = set()

    def __iter__(self) -> Iterator[TrialFolder]:
        return (trial for trial in self._submission.trials() if trial in self)

    def __contains__(self, trial: TrialFolder) -> bool:
        if trial.id not in self._back and not self._is_wanted(trial):
            return False
        state = trial.status().state
        if state in RESTARTED:
            return self._retry_failed
        return state not in DONE or bool(self.unanswered(trial))

    def put_back(self, trial: TrialFolder) -> None:
        """It was resumed during the run."""
        self._back.add(trial.id)

    def unanswered(self, trial: TrialFolder) -> dict[int, list[Probe]]:
        """Probes of a trial's exports that are due and have no result, e.g. since they changed."""
        spec = trial_spec(self._records[trial.id].resolved)
        exports = set(trial.steps("exports"))
        missing = unanswered(due_of(spec, self._data), trial.probes(), reads_of(spec))
        return {step: probes for step, probes in missing.items() if step in exports}

    def left(self) -> list[str]:
        """Ids of those that have ended before they were done though nobody asked them to."""
        return [trial.id for trial in self if self._was_left(trial)]

    def _is_wanted(self, trial: TrialFolder) -> bool:
        return trial.id not in self.paused and (not self._only or trial.id in self._only)

    def _was_left(self, trial: TrialFolder) -> bool:
        ended = trial.status().state in {*DONE, *RESTARTED}
        asked = control.stop_request(trial) is not None
        return not ended and not asked and lease.owns(self._submission, trial)
