"""What a probe says of the maskings: heat map, seeds with intervals, parallel coordinates."""

from __future__ import annotations

from nicegui import ui

from mimlab.serve.pages.parts import figures
from mimlab.serve.pages.parts.figure import Figure
from mimlab.serve.pages.parts.frame import nothing, section
from mimlab.serve.pages.parts.panel import Panel
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.comparing import MASKING, RATIO
from mimlab.serve.reading.models import HeatMap, Parallel, SeedMean, SubmissionDetail


class Comparison(Panel):
    """Three figures of one metric."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._detail: SubmissionDetail | None = None
        with ui.element("div").classes("tools"):
            self._metric = ui.select([], label="Probe", on_change=self._changed)
            self._x = ui.select([RATIO], value=RATIO, label="Columns", on_change=self._changed)
            self._y = ui.select([MASKING], value=MASKING, label="Rows", on_change=self._changed)
        for each in (self._metric, self._x, self._y):
            each.props("dense outlined options-dense")
        self._empty = ui.element("div")
        with self._empty:
            nothing("No probe has a result yet", "The first one fills this page.")
        self._full = ui.element("div")
        with self._full:
            section("Means over seeds, in percent")
            self._heat = Figure()
            section("Seeds, means and 95 % intervals")
            self._seeds = Figure()
            section("Every trial through its settings")
            self._lines = Figure()
            ui.label(
                "Of a cell with finished trials only those count: an earlier epoch is no match for "
                "a later one. Intervals are Student's t over seeds."
            ).classes("muted")

    async def show(self, detail: SubmissionDetail) -> None:
        self._detail = None  # the choices are set first, and must not draw
        axes = list(dict.fromkeys([MASKING, RATIO, *detail.axes]))
        for choice in (self._x, self._y):
            if choice.options != axes:
                choice.set_options(axes, value=choice.value)
        if self._metric.options != detail.metrics:
            first = next(iter(detail.metrics), None)
            self._metric.set_options(detail.metrics, value=self._metric.value or first)
        self._detail = detail
        await self._draw(detail)

    async def _changed(self) -> None:
        if self._detail is not None:
            await self._draw(self._detail)

    async def _draw(self, detail: SubmissionDetail) -> None:
        metric = self._metric.value
        scored = metric is not None and any(metric in trial.scores for trial in detail.trials)
        self._empty.set_visibility(not scored)
        self._full.set_visibility(scored)
        if not scored:
            return
        path, asked = f"/submissions/{detail.summary.id}", {"metric": str(metric)}
        axes = asked | {"x": str(self._x.value), "y": str(self._y.value)}
        heat = await self.api.get(f"{path}/heatmap", HeatMap, axes)
        means = await self.api.get(f"{path}/seed-means", list[SeedMean], asked)
        lines = await self.api.get(f"{path}/parallel", Parallel, asked)
        self._heat.draw(figures.heat_map(heat))
        self._seeds.draw(figures.seed_means(means, str(metric), detail.baselines))
        self._lines.draw(figures.parallel(lines))
