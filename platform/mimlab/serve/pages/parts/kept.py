"""A place on a page whose content stays while what it shows stays."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui


class Kept:
    """Whoever stands in it by keyboard, or presses there, is not thrown out by other news."""

    def __init__(self, place: ui.element) -> None:
        self._place = place
        self._shown: tuple[object] | None = None

    def show(self, value: object, make: Callable[[], object]) -> None:
        """Call `make` in its place, where `value`, which is all that it depends on, is another one
        than before."""
        if self._shown == (value,):
            return
        self._shown = (value,)
        self._place.clear()
        with self._place:
            make()
