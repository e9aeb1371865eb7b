"""Who fails to log in too often has to wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 60.0
MAX_FAILURES = 10
"""Within the window, of one address with tokens of one name."""
MAX_OF_ADDRESS = 100
"""The same of one address, whoever's tokens: behind a proxy, many people have one."""
MAX_KEYS = 10_000
"""That are remembered: a flood of addresses does not fill the memory."""


class FailureLimit:
    """Counts failures by key, in memory: a restart forgets them, which harms little."""

    def __init__(
        self,
        *,
        limit: int = MAX_FAILURES,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, *keys: str) -> float:
        """For how long those keys must not try again; 0 if they may now."""
        with self._lock:
            return max((self._wait_s(key) for key in keys), default=0.0)

    def failed(self, *keys: str) -> None:
        """Count a failure of each."""
        now = self._clock()
        with self._lock:
            for key in keys:
                times = self._failures.pop(key, deque(maxlen=self._limit))
                times.append(now)
                self._failures[key] = times  # at the end: the dict is in the order of last failures
            while len(self._failures) > MAX_KEYS:
                del self._failures[next(iter(self._failures))]

    def _wait_s(self, key: str) -> float:
        times = self._failures.get(key)
        if times is None or len(times) < self._limit:
            return 0.0
        return max(0.0, times[0] + self._window_s - self._clock())
