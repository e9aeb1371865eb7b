"""One connection's worth of a view. Dropped after any failure: the next one asks MLflow anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mimlab.storage.records import SubmissionRecord, TrialRecord, TrialState
from mimlab.storage.store import Store
from mimlab.track.client import connect, is_missing, is_outage, words
from mimlab.track.refused import Refused
from mimlab.track.sent import Sent
from mimlab.track.status import submission_status
from mimlab.track.submission_run import open_submission
from mimlab.track.trial_run import TrialRun, open_trial


class Session:
    """The runs of one submission, opened. Constructing it connects and opens the parent."""

    def __init__(
        self, store: Store, uri: str, submission: SubmissionRecord, refused: Refused, sent: Sent
    ) -> None:
        """`refused` and `sent` are told what MLflow does not take, and what it had not."""
        self._submission = open_submission(connect(uri), store, uri, submission, refused, sent)
        self._runs: dict[str, TrialRun] = {}

    @property
    def marks(self) -> dict[str, int]:
        """The last journal point that MLflow has of each trial that was opened, by its id."""
        return {trial_id: run.points.seq for trial_id, run in self._runs.items()}

    def show(
        self, trials: Sequence[TrialRecord], *, left: bool, driven: Callable[[str], bool]
    ) -> list[str]:
        """Send what is new of each trial, then what follows from them.

        Args:
            trials: those of the submission so far.
            left: nobody watches any longer, so what claims to run does not.
            driven: whether a driver runs the trial, or the submission, of an id all the same.

        Returns:
            What went wrong with single trials, a line each; the others are shown all the same.

        Raises:
            Exception: MLflow is away, or no longer has the runs.
        """
        self._submission.sync_files()
        errors = [error for trial in trials if (error := self._try(trial, left, driven))]
        self._submission.sync_baselines()
        states: dict[str, TrialState] = {trial.id: self._state(trial) for trial in trials}
        left = left and not driven(self._submission.parent.submission_id)
        self._submission.sync_report(states, last=left)
        self._submission.write_page(trials, list(self._runs.values()))
        self._submission.show(submission_status(list(states.values()), left=left))
        return errors

    def _state(self, trial: TrialRecord) -> TrialState:
        return self._runs[trial.id].state if trial.id in self._runs else "pending"

    def _try(self, trial: TrialRecord, left: bool, driven: Callable[[str], bool]) -> str:
        try:
            if trial.id not in self._runs:
                self._runs[trial.id] = open_trial(self._submission.parent, trial)
            self._runs[trial.id].sync(left=left, driven=driven)
        except Exception as error:
            if is_outage(error) or is_missing(error):
                raise
            self._runs.pop(trial.id, None)
            return f"trial {trial.id}: {words(error)}"
        return ""
