"""Everything that MLflow shows of one submission, rebuilt from the folders whenever it must be.

Training never waits for MLflow: nothing here raises, and what could not be sent is sent later,
from the folders, in order and once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import last_seq
from mimlab.storage.records import SubmissionRecord, TrialRecord
from mimlab.storage.store import Store
from mimlab.track.refused import Refused
from mimlab.track.sent import Sent
from mimlab.track.settings import prepare_client

if TYPE_CHECKING:
    from mimlab.track.session import Session

_log = logging.getLogger(__name__)
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


class MlflowView:
    """One submission in MLflow. `sync` and `close` belong to one thread, `Drain`'s."""

    def __init__(self, store: Store, tracking_uri: str) -> None:
        """`tracking_uri` is resolved (`mimlab.track.uri.resolve_tracking`). Touches no network."""
        self.behind = True
        """Whether the folders hold something that MLflow may not have."""
        self.last_error = ""
        """Why, in words for the user; empty when all was well at the last `sync`."""
        self._store = store
        self._uri = tracking_uri
        self._submission: SubmissionRecord | None = None
        self._trials: dict[str, TrialRecord] = {}
        self._session: Session | None = None
        self._refused = Refused()
        self._sent = Sent()
        self._marks: dict[str, int] = {}
        self._failed = False
        """Whether the last attempt ended with more than refusals: the next may get further."""
        self._wait_s = 0.0
        self._retry_at = 0.0

    def open_submission(self, submission: SubmissionRecord, trials: Iterable[TrialRecord]) -> None:
        """Show this submission from the next `sync` on, which makes or finds its runs."""
        self._submission = submission
        self.add_trials(trials)

    def add_trials(self, trials: Iterable[TrialRecord]) -> None:
        """Show further trials, e.g. of an adaptive search; from any thread."""
        self._trials |= {trial.id: trial for trial in trials}

    def sync(self) -> int:
        """Send what is new. Never raises; while MLflow is away, tries again with back-off.

        Returns:
            The number of journal points that were sent.
        """
        return self._sync(left=False) if time.monotonic() >= self._retry_at else 0

    def close(self, timeout_s: float = 10.0) -> bool:
        """The driver ends: send all, and give every run the status that is true from now on.

        Returns:
            Whether MLflow has everything. If not, the next driver or `mimlab sync` sends the rest.
        """
        deadline = time.monotonic() + timeout_s
        self._refused.try_again()
        self._sync(left=True)
        while self._failed and time.monotonic() < deadline:
            time.sleep(0.5)
            self._sync(left=True)
        return not self.behind

    @property
    def lacking(self) -> str:
        """What MLflow has not of the curves, in words; to be read when the drain has ended."""
        if not self._marks:
            return "everything of this run"
        lacking = {id_: self._last(id_) - self._marks.get(id_, 0) for id_ in self._trials}
        late = [count for count in lacking.values() if count > 0]
        if not late:
            return "results or statuses"
        return f"{sum(late):,} points of {len(late)} trial{'s' * (len(late) != 1)}"

    @property
    def away(self) -> bool:
        """Whether the last attempt failed, so that a later one may get further: what MLflow refuses
        it refuses again."""
        return self._failed

    def _last(self, trial_id: str) -> int:
        return last_seq(self._store, TrialFolder(self._store, trial_id).file("journal"))

    def _sync(self, *, left: bool) -> int:
        before = self._sent.points
        try:
            session = self._session = self._session or self._connect()
            try:
                trials = list(self._trials.values())
                errors = session.show(trials, left=left, driven=_nobody)
            finally:
                self._marks |= session.marks
            self._wait_s = 0.0
        except Exception as error:
            # Whatever it was, training goes on; the folders still hold what was not sent.
            errors = [f"{self._uri}: {_words(error)}"]
            self._session = None
            self._wait_s = min(max(FIRST_WAIT_S, 2 * self._wait_s), LONGEST_WAIT_S)
            self._retry_at = time.monotonic() + self._wait_s
        self._failed = bool(errors)
        self._tell("; ".join([*errors, *self._refused.words]))
        return self._sent.points - before

    def _connect(self) -> Session:
        if self._submission is None:
            raise RuntimeError("open_submission comes first")
        prepare_client()
        from mimlab.track.session import Session  # imports mlflow: seconds

        return Session(self._store, self._uri, self._submission, self._refused, self._sent)

    def _tell(self, error: str) -> None:
        if error and error != self.last_error:
            _log.warning("MLflow is behind, training goes on: %s", error)
        elif self.last_error and not error:
            _log.warning("MLflow has caught up")
        self.last_error = error
        self.behind = bool(error)


def _nobody(_: str) -> bool:
    """Once a driver ends, nobody runs what it ran."""
    return False


def _words(error: Exception) -> str:
    from mimlab.track.client import words  # imports mlflow

    return words(error)
