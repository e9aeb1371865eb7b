"""Everything that MLflow shows of one submission, rebuilt from the folders whenever it must be.

Training never waits for MLflow: nothing here raises, and what could not be sent is sent later,
from the folders, in order and once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mimlab.storage.records import SubmissionRecord, TrialRecord
from mimlab.storage.store import Store
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
            Whether MLflow has everything. If not, the next driver sends the rest.
        """
        deadline = time.monotonic() + timeout_s
        self._sync(left=True)
        while self.behind and time.monotonic() < deadline:
            time.sleep(0.5)
            self._sync(left=True)
        return not self.behind

    def _sync(self, *, left: bool) -> int:
        before = self._session.sent if self._session else 0
        session, errors = self._session, []
        try:
            session = self._session = session or self._connect()
            errors = session.show(list(self._trials.values()), left=left)
            self._wait_s = 0.0
        except Exception as error:
            # Whatever it was, training goes on; the folders still hold what was not sent.
            errors = [f"{self._uri}: {error}"]
            self._session = None
            self._wait_s = min(max(FIRST_WAIT_S, 2 * self._wait_s), LONGEST_WAIT_S)
            self._retry_at = time.monotonic() + self._wait_s
        self._tell("; ".join(errors))
        return session.sent - before if session else 0

    def _connect(self) -> Session:
        if self._submission is None:
            raise RuntimeError("open_submission comes first")
        prepare_client()
        from mimlab.track.session import Session  # imports mlflow: seconds

        return Session(self._store, self._uri, self._submission)

    def _tell(self, error: str) -> None:
        if error and error != self.last_error:
            _log.warning("MLflow is behind, training goes on: %s", error)
        elif self.last_error and not error:
            _log.warning("MLflow has caught up")
        self.last_error = error
        self.behind = bool(error)
