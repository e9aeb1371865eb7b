"""Rank 0's link to storage: heartbeat and status, metric journal, stop requests.

A thread does the writing every `PERIOD_S`, so that neither a slow step nor slow storage shows up as
the other.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from mimlab.storage.control import StopRequest, asked_of_workers
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.lease import LeaseLost
from mimlab.storage.records import StatusRecord
from mimlab.train.log import TrialLog
from mimlab.train.meter import TIMING_KEYS
from mimlab.train.system import SYSTEM_KEYS

PERIOD_S = 1.0
SEGMENT_S = 5.0
"""Between two segments of the journal: a segment is a file."""


VOLATILE_KEYS = frozenset({*TIMING_KEYS, *SYSTEM_KEYS, "train/workers"})
"""Metrics that differ between two runs of the same step."""


class Reporter:
    """Publishes where a trial stands while it trains."""

    def __init__(
        self, trial: TrialFolder, status: StatusRecord, check_fence: Callable[[], None]
    ) -> None:
        """`status` says after which step training goes on; `check_fence` raises LeaseLost once
        another driver or a later attempt has taken over."""
        self._patience = trial.store.patience
        # The thread has turns of its own, at each of which it tries again.
        self._trial = at_once = TrialFolder(trial.store.at_once(), trial.id)
        self._status = status
        self._reason = status.reason
        self._check_fence = check_fence
        self.journal = self._patience.run(
            lambda: Journal(at_once, after_step=status.step, timing_keys=VOLATILE_KEYS)
        )
        self.stop: StopRequest | None = asked_of_workers(trial)
        self._log = TrialLog(trial)
        self._flushed = time.monotonic()
        self._writing = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def progress(self, *, step: int, epoch: float, images_per_s: float) -> None:
        """What the next status will say."""
        self._status = self._status.model_copy(
            update={"step": step, "epoch": epoch, "images_per_s": images_per_s}
        )

    def waits_for(self, reason: str) -> None:
        """What hinders saving, and so perhaps training, as the status says it; empty if nothing."""
        self._reason = reason

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """Add a point to the journal; published within `SEGMENT_S`."""
        self.journal.append(step, metrics)

    def flush(self) -> None:
        """Publish the journal now. Raises OSError, and LeaseLost where that is another's by now."""
        with self._writing:
            self._check_fence()
            self.journal.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Publish everything and end the thread. Raises what `flush` does.

        A second call does nothing.
        """
        if self._ended():
            self._patience.run(self._last_words)

    def give_up(self) -> None:
        """End the thread; publish what the storage takes now."""
        if self._ended():
            with contextlib.suppress(OSError):
                self._last_words()

    def _ended(self) -> bool:
        """Ends the thread; False if that is done already."""
        if self._end.is_set():
            return False
        self._end.set()
        self._thread.join()
        return True

    def _last_words(self) -> None:
        self.flush()
        self._publish()

    def _run(self) -> None:
        told = ""
        while not self._end.wait(PERIOD_S):
            try:
                self._check_fence()
                if time.monotonic() - self._flushed >= SEGMENT_S:
                    self.flush()
                self._publish()
                told = ""
            except LeaseLost:
                return
            except OSError as error:
                # The storage may be back at the next turn; nothing is lost meanwhile.
                if str(error) != told:
                    told = str(error)
                    self._log.write("storage fails", {"reason": told})

    def _publish(self) -> None:
        self.stop = asked_of_workers(self._trial)
        status = self._status.model_copy(update={"heartbeat": self._status.heartbeat + 1})
        self._status = status
        # Not kept in the status: another thread says it, and neither may undo the other.
        self._trial.write_status(status.model_copy(update={"reason": self._reason}))
