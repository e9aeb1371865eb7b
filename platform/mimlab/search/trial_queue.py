"""How Ray Tune learns of a submission's trials, those too that do not exist when it starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from mimlab.storage.records import TrialRecord

More = Callable[[], list[TrialRecord]]
HasPlace = Callable[[int, int], bool | None]


class TrialQueue(Searcher):
    """Hands out the trials that are known, then those that `more` adds, until it adds none.

    While a trial runs, others may come back: the queue ends when the last one has.
    """

    def __init__(
        self, known: Sequence[TrialRecord], more: More, back: More, has_place: HasPlace
    ) -> None:
        """`back` gives trials that had ended and are to run again; it is asked often.

        `has_place`: whether one may start beside so many that run, while so many wait; None: none
        will any more.
        """
        super().__init__()
        self._waiting = deque(known)
        self._more = more
        self._back = back
        self._has_place = has_place
        self._no_more = False
        self._running: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """The next trial as `run_trial` takes it; None where there is none now;
        `Searcher.FINISHED` after the last. `trial_id` is Tune's own."""
        self._waiting.extend(self._back())
        if not self._waiting and not self._no_more:
            added = self._more()
            self._no_more = not added
            self._waiting.extend(added)
        if not self._waiting:
            return None if self._running else Searcher.FINISHED
        place = self._has_place(len(self._running), len(self._waiting))
        if not place:
            return Searcher.FINISHED if place is None else None
        self._running.add(trial_id)
        record = self._waiting.popleft()
        return {"trial": {"trial_id": record.id, "spec": record.resolved}}

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict | None = None,  # noqa: ARG002  Tune's names
        error: bool = False,  # noqa: ARG002
    ) -> None:
        """The trial's folder says how it ended."""
        self._running.discard(trial_id)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: what a search knows is in the storage."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a copy that nobody reads."""
        return {}
