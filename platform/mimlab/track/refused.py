"""Single items that MLflow does not take: told once, tried again now and then."""

from __future__ import annotations

import time

RETRY_S = 60.0
"""Between two attempts at an item, whose reason may be a full disk behind the server."""


class Refused:
    """The items of one view that were refused, by name; they outlive a connection."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}
        self._again_at: dict[str, float] = {}

    @property
    def words(self) -> list[str]:
        """A line for each."""
        return [f"{item} refused: {why}" for item, why in self._why.items()]

    def waits(self, item: str) -> bool:
        """Whether it was refused a moment ago and is left alone for now."""
        return time.monotonic() < self._again_at.get(item, 0.0)

    def add(self, item: str, why: str) -> None:
        self._why[item] = why
        self._again_at[item] = time.monotonic() + RETRY_S

    def taken(self, item: str) -> None:
        self._why.pop(item, None)
        self._again_at.pop(item, None)

    def try_again(self) -> None:
        """Let all be tried at once, e.g. because there is no later."""
        self._again_at.clear()
