"""The thread that keeps MLflow in step while the driver does other things."""

from __future__ import annotations

import threading
import time

from mimlab.track.view import MlflowView

PERSIST_S = 5.0


class Drain:
    """Calls `sync` on a view every few seconds, and `close` at the end; nothing escapes."""

    def __init__(self, view: MlflowView, *, every_s: float = 2.0) -> None:
        self._view = view
        self._every_s = every_s
        self._stopping = threading.Event()
        self._timeout_s = 0.0
        self._thread = threading.Thread(target=self._run, name="mlflow-drain", daemon=True)

    @property
    def behind(self) -> bool:
        """Whether MLflow may lack something."""
        return self._view.behind or (self._stopping.is_set() and self._thread.is_alive())

    @property
    def away(self) -> bool:
        """Whether MLflow did not answer, or not in time, when it was last asked."""
        return self._view.away or (self._stopping.is_set() and self._thread.is_alive())

    @property
    def last_error(self) -> str:
        """Why MLflow is behind; empty when all was well at the last attempt."""
        return self._view.last_error

    @property
    def lacking(self) -> str:
        """What MLflow lacks, in words; to be read after `stop`."""
        return self._view.lacking

    def start(self) -> None:
        """Begin; connecting happens in the thread and delays nobody."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Send the rest and end the thread.

        Returns:
            Whether MLflow has everything. If not within `timeout_s`, the thread is left to itself
            and what is missing is sent by the next driver, or by `mimlab sync`.
        """
        self._timeout_s = timeout_s
        self._stopping.set()
        self._thread.join(timeout_s + 1.0)
        return not self.behind

    def persist(self, timeout_s: float, stopping: threading.Event) -> bool:
        """After `stop`: go on until MLflow has everything, `stopping` is set, or for so long."""
        self._thread.join()
        deadline = time.monotonic() + timeout_s
        while self._view.away and time.monotonic() < deadline:
            if stopping.wait(PERSIST_S):
                break
            self._view.close(0.0)
        return not self.behind

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._view.sync()
            self._stopping.wait(self._every_s)
        self._view.close(self._timeout_s)
