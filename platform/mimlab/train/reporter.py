"""Rank 0's link to storage: heartbeat and status, metric journal, stop requests.

A thread does the writing every `PERIOD_S`, so that neither a slow step nor slow storage shows up as
the other.
"""

from __future__ import annotations

import threading

from mimlab.storage.control import StopRequest, stop_request
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.records import StatusRecord

PERIOD_S = 1.0

TIMING_KEYS = frozenset({"train/images_per_s", "train/wait_share"})
"""Metrics that differ between two runs of the same step."""


class Reporter:
    """Publishes where a trial stands while it trains."""

    def __init__(self, trial: TrialFolder, status: StatusRecord) -> None:
        self._trial = trial
        self._status = status
        self.journal = Journal(trial, timing_keys=TIMING_KEYS)
        self.stop: StopRequest | None = stop_request(trial)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def progress(self, *, step: int, epoch: float, images_per_s: float) -> None:
        """What the next status will say."""
        with self._lock:
            self._status = self._status.model_copy(
                update={"step": step, "epoch": epoch, "images_per_s": images_per_s}
            )

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """Add a point to the journal; published within `PERIOD_S`."""
        with self._lock:
            self.journal.append(step, metrics)

    def flush(self) -> int:
        """Publish the journal now; its high-water mark."""
        with self._lock:
            self.journal.flush()
            return self.journal.seq

    def close(self) -> None:
        """Publish everything and end the thread."""
        self._end.set()
        self._thread.join()
        self._publish()

    def _run(self) -> None:
        while not self._end.wait(PERIOD_S):
            self._publish()

    def _publish(self) -> None:
        self.flush()
        self.stop = stop_request(self._trial)
        with self._lock:
            heartbeat = self._status.heartbeat + 1
            self._status = self._status.model_copy(update={"heartbeat": heartbeat})
            status = self._status
        self._trial.write_status(status)
