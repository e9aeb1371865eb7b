"""How Ray Tune learns of a submission's trials, those too that do not exist when it starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from mimlab.storage.records import TrialRecord


class TrialQueue(Searcher):
    """Hands out the trials that are known, then those that `more` adds, until it adds none."""

    def __init__(self, known: Sequence[TrialRecord], more: Callable[[], list[TrialRecord]]) -> None:
        super().__init__()
        self._waiting = deque(known)
        self._more = more

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002  Tune's own id
        """The next trial as `run_trial` takes it; `Searcher.FINISHED` after the last."""
        if not self._waiting:
            self._waiting.extend(self._more())
        if not self._waiting:
            return Searcher.FINISHED
        record = self._waiting.popleft()
        return {"trial": {"trial_id": record.id, "spec": record.resolved}}

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        """The trial's folder says how it ended."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: what a search knows is in the storage."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a copy that nobody reads."""
        return {}
