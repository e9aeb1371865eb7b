"""Live learning curves of a submission's trials."""

from __future__ import annotations

from nicegui import ui

from mimlab.serve.pages.parts import figures
from mimlab.serve.pages.parts.figure import Figure
from mimlab.serve.pages.parts.frame import nothing
from mimlab.serve.pages.parts.panel import Panel
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import Curve, SubmissionDetail

MOST_TRIALS = 50
"""That are drawn; more lines than that tell nothing apart."""
POINTS = 400
FIRST = "train/loss"


class CurvePanel(Panel):
    """A metric at choice, a line a trial, of all cells or one."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._detail: SubmissionDetail | None = None
        self._drawn = False
        with ui.element("div").classes("tools"):
            self._metric = ui.select([FIRST], value=FIRST, label="Metric", on_change=self._changed)
            self._cells = ui.select([], label="Only these", multiple=True, on_change=self._changed)
            self._log = ui.checkbox("logarithmic", on_change=self._changed)
        for each in (self._metric, self._cells):
            each.props("dense outlined options-dense")
        self._cells.props("use-chips clearable")
        self._note = ui.label("").classes("muted")
        self._figure = Figure()
        self._empty = ui.element("div")
        with self._empty:
            nothing("No curves yet", "They begin with the first logged steps.")

    async def show(self, detail: SubmissionDetail) -> None:
        self._detail = detail
        cells = list(dict.fromkeys(trial.cell for trial in detail.trials))
        if self._cells.options != cells:
            self._cells.set_options(cells)
        await self._draw(detail)

    async def _changed(self) -> None:
        self._drawn = False
        if self._detail is not None:
            await self._draw(self._detail)

    async def _draw(self, detail: SubmissionDetail) -> None:
        chosen = self._cells.value or []
        trials = [trial for trial in detail.trials if not chosen or trial.cell in chosen]
        shown = trials[:MOST_TRIALS]
        more = len(trials) - len(shown)
        self._note.text = f"{more} more trials are not drawn: choose some cells" if more else ""
        if not shown:
            self._draw_nothing()
            return
        ask = self.api.changed if self._drawn else self.api.get
        ids = [trial.id for trial in shown]
        metrics = await ask("/curves/metrics", list[str], {"trial": ids})
        if metrics:
            chosen = str(self._metric.value)
            self._metric.set_options(list(dict.fromkeys([*metrics, chosen])), value=chosen)
        params = {"trial": ids, "metric": [str(self._metric.value)], "points": POINTS}
        curves = await ask("/curves", list[Curve], params)
        if curves is None:
            return
        self._drawn = True
        if not curves:
            self._draw_nothing()
            return
        labels = {trial.id: trial.label for trial in shown}
        figure = figures.curves(curves, labels, {trial.id: trial.cell for trial in shown})
        layout = figure["layout"]
        assert isinstance(layout, dict)
        layout["yaxis"] |= {
            "type": "log" if self._log.value else "linear",
            "title": {"text": self._metric.value},
        }
        layout["uirevision"] = f"{self._metric.value} {self._log.value}"
        self._empty.set_visibility(False)
        self._figure.draw(figure)

    def _draw_nothing(self) -> None:
        self._empty.set_visibility(True)
        self._figure.clear()
