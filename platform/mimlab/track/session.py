"""One connection's worth of a view. Dropped after any failure: the next one asks MLflow anew."""

from __future__ import annotations

from collections.abc import Sequence

from mimlab.storage.records import SubmissionRecord, TrialRecord, TrialState
from mimlab.storage.store import Store
from mimlab.track.client import connect, is_missing, is_outage
from mimlab.track.status import submission_status
from mimlab.track.submission_run import open_submission
from mimlab.track.trial_run import TrialRun, open_trial


class Session:
    """The runs of one submission, opened. Constructing it connects and opens the parent."""

    def __init__(self, store: Store, uri: str, submission: SubmissionRecord) -> None:
        self._submission = open_submission(connect(uri), store, uri, submission)
        self._runs: dict[str, TrialRun] = {}
        self.sent = 0
        """Journal points sent through this session."""

    def show(self, trials: Sequence[TrialRecord], *, left: bool) -> list[str]:
        """Send what is new of each trial, then what follows from them.

        Returns:
            What went wrong with single trials, a line each; the others are shown all the same.

        Raises:
            Exception: MLflow is away, or no longer has the runs.
        """
        errors = [error for trial in trials if (error := self._try(trial, left=left))]
        self._submission.sync_baselines()
        self._submission.write_note(list(self._runs.values()))
        states: list[TrialState] = [self._state(trial) for trial in trials]
        self._submission.show(submission_status(states, left=left))
        return errors

    def _state(self, trial: TrialRecord) -> TrialState:
        return self._runs[trial.id].state if trial.id in self._runs else "pending"

    def _try(self, trial: TrialRecord, *, left: bool) -> str:
        try:
            self._show(trial, left=left)
        except Exception as error:
            if is_outage(error) or is_missing(error):
                raise
            self._runs.pop(trial.id, None)
            return f"trial {trial.id}: {error}"
        return ""

    def _show(self, trial: TrialRecord, *, left: bool) -> None:
        if trial.id not in self._runs:
            self._runs[trial.id] = open_trial(self._submission.parent, trial)
        run = self._runs[trial.id]
        before = run.points.sent
        try:
            run.sync(left=left)
        finally:
            self.sent += run.points.sent - before
