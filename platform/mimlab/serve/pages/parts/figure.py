"""A place on a page for a figure that may have nothing to show yet."""

from __future__ import annotations

from typing import Any

from nicegui import ui


class Figure:
    """Plotly's, made when it is first drawn: one that is hidden as it is made gets no width."""

    def __init__(self) -> None:
        self._place = ui.element("div")
        self._drawn: ui.plotly | None = None

    def draw(self, figure: dict[str, Any]) -> None:
        """Show a figure in Plotly's JSON form."""
        if self._drawn is not None:
            self._drawn.update_figure(figure)
            return
        with self._place:
            self._drawn = ui.plotly(figure).classes("figure")

    def clear(self) -> None:
        """Show nothing."""
        self._place.clear()
        self._drawn = None
