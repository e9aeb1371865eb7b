"""Whether an MLflow server answers: asked beside the requests, which never wait for it."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

EVERY_S = 15.0
TIMEOUT_S = 3.0


class MlflowWatch:
    """Remembers of each server what the last look has found."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, page: str | None = None
    ) -> None:
        """`page`: where browsers reach MLflow, if not where drivers do."""
        self.page = page
        self._clock = clock
        self._found: dict[str, str] = {}
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def problem(self, uri: str) -> str:
        """Why MLflow's pages cannot be opened now, in words; empty where they can, and where it is
        a database or not known yet."""
        if not uri.startswith(("http://", "https://")):
            return ""
        with self._lock:
            if self._clock() >= self._next.get(uri, 0.0):
                self._next[uri] = self._clock() + EVERY_S
                look = threading.Thread(target=self._look, args=(uri,), daemon=True)
                look.start()
            return self._found.get(uri, "")

    def _look(self, uri: str) -> None:
        said = "" if answers(uri) else f"MLflow does not answer at {uri}"
        with self._lock:
            self._found[uri] = said


def answers(uri: str) -> bool:
    """Whether a server says anything at all, were it that it does not know this caller."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False
