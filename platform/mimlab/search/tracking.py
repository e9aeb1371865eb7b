"""MLflow's side of a submission that runs: kept in step, and waited for where nobody watches."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from mimlab.search import supervision
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import TrialRecord
from mimlab.storage.store import Store
from mimlab.track.drain import Drain
from mimlab.track.view import MlflowView

GRACE_S = 10.0
"""For MLflow to take the rest when a driver ends."""
AWAY_S = 3600.0
"""The same where nobody watches and MLflow is away."""


class Tracking:
    """Tells MLflow what a submission's trials come to.

    `impatient`: the same storage for the thread that sends, which tries again by itself.
    """

    def __init__(self, submission: SubmissionFolder, impatient: Store) -> None:
        self._submission = submission
        self._view = MlflowView(impatient, submission.record().tracking_uri)
        self.drain: Drain | None = None
        """What sends, once it has begun."""

    def add_trials(self, added: Sequence[TrialRecord]) -> None:
        """Show these, too."""
        self._view.add_trials(added)

    @contextlib.contextmanager
    def followed(
        self,
        is_done: Callable[[], bool],
        stopping: threading.Event,
        watched: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> Iterator[None]:
        """Keep MLflow in step meanwhile, and give it the rest afterwards.

        Where `is_done` then, MLflow is away and nobody is there to send the rest by `mimlab sync`,
        it is waited for, until `stopping` is set or a signal comes, inside what `watched` gives. To
        be entered in the main thread.
        """
        trials = [trial.record() for trial in self._submission.trials()]
        self._view.open_submission(self._submission.record(), trials)
        self.drain = drain = Drain(self._view)
        drain.start()
        done = False
        try:
            yield
            done = is_done()
        finally:
            drain.stop(GRACE_S)
            if done and drain.away and supervision.supervised():
                _tell(drain)
                with watched(), _signals_setting(stopping):
                    drain.persist(AWAY_S, stopping)


@contextlib.contextmanager
def _signals_setting(ended: threading.Event) -> Iterator[None]:
    """Ray, whose cluster has ended by then, would end the process at SIGTERM."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: ended.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _tell(drain: Drain) -> None:
    print(
        f"MLflow is behind ({drain.last_error}): it is waited for up to {AWAY_S / 60:.0f} min",
        file=sys.stderr,
        flush=True,
    )
