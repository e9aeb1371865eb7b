"""What a trial is and was: curves, boards, configuration, lineage, checkpoints, log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from nicegui import ui

from mimlab.serve.pages.parts import figures, words
from mimlab.serve.pages.parts.boards import board
from mimlab.serve.pages.parts.figure import Figure
from mimlab.serve.pages.parts.frame import section
from mimlab.serve.pages.parts.kept import Kept
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.pages.parts.text import text_of
from mimlab.serve.reading.models import Curve, TrialDetail

POINTS = 400
SHOWN = ("train/loss", "train/grad_norm", "train/lr", "train/images_per_s")


class TrialBody:
    """Sections, each made again only where it has changed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        section("Curves")
        self._curves = Kept(ui.element("div").classes("boards"))
        self._figures: dict[str, Figure] = {}
        self._parts: dict[str, Kept] = {}
        for name in ("Board", "Configuration", "Lineage", "Checkpoints", "Log"):
            section(name)
            self._parts[name] = Kept(ui.element("div"))

    async def show(self, detail: TrialDetail) -> None:
        """As it is now. Raises Refused."""
        trial = detail.summary
        asked = {"trial": [trial.id], "metric": list(SHOWN), "points": POINTS}
        curves = await self._api.changed("/curves", list[Curve], asked)
        if curves is not None:
            self._draw_curves(curves, trial.label)
        configured = (detail.resolved_text, detail.differing_lines, detail.differences)
        related = (detail.lineage, detail.parent_step, detail.differs, detail.drift)
        shown: dict[str, tuple[object, Callable[[TrialDetail], None]]] = {
            "Board": (trial.board_steps[-1:], _board),
            "Configuration": (configured, _configuration),
            "Lineage": (related, _lineage),
            "Checkpoints": (detail.checkpoints, _checkpoints),
            "Log": (detail.log_tail, _log),
        }
        for name, (value, make) in shown.items():
            self._parts[name].show(value, partial(make, detail))

    def _draw_curves(self, curves: Sequence[Curve], label: str) -> None:
        metrics = [curve.metric for curve in curves]
        self._curves.show(metrics, lambda: self._make_figures(metrics))
        for curve in curves:
            figure = figures.curves([curve], {curve.trial_id: label}, {curve.trial_id: label})
            layout = figure["layout"]
            assert isinstance(layout, dict)
            layout |= {"height": 220, "uirevision": curve.metric}
            self._figures[curve.metric].draw(figure)

    def _make_figures(self, metrics: Sequence[str]) -> None:
        if not metrics:
            ui.label("They begin with the first logged steps.").classes("muted")
        self._figures = {}
        for metric in metrics:
            with ui.element("figure"):
                with ui.element("figcaption"):
                    ui.label(metric)
                self._figures[metric] = Figure()


def _board(detail: TrialDetail) -> None:
    steps = detail.summary.board_steps
    if not steps:
        ui.label("None yet.").classes("muted")
        return
    with ui.element("div").classes("boards"), ui.element("figure"):
        board(detail.summary, steps[-1])
        with ui.element("figcaption"):
            ui.label(f"step {steps[-1]:,}: inputs, what is masked, what is predicted")


def _configuration(detail: TrialDetail) -> None:
    words_ = "Lines in which its siblings are unlike it are marked."
    ui.label(words_ if detail.differing_lines else "Its siblings are like it.").classes("muted")
    with ui.element("div").classes("card"):
        text_of(
            detail.resolved_text.splitlines(),
            label="Resolved configuration",
            marked=detail.differing_lines,
        )
    if detail.differences:
        rows = [
            {"id": d.key, "this": d.value or "–", "others": ", ".join(o or "–" for o in d.others)}
            for d in detail.differences
        ]
        columns = [
            {"name": "id", "label": "key", "field": "id", "align": "left"},
            {"name": "this", "label": "this trial", "field": "this", "align": "left"},
            {"name": "others", "label": "its siblings", "field": "others", "align": "left"},
        ]
        ui.table(rows=rows, columns=columns).props('flat dense aria-label="Differences"')


def _lineage(detail: TrialDetail) -> None:
    for relative in detail.lineage:
        with ui.row():
            ui.label("forked from" if relative.relation == "parent" else "forked into")
            ui.link(relative.id, f"/trials/{relative.id}")
            if relative.relation == "parent" and detail.parent_step is not None:
                ui.label(f"at step {detail.parent_step:,}")
    for words_ in detail.drift:
        ui.label(words_).classes("muted")
    for words_ in detail.differs:
        ui.label(f"changed at a resume: {words_}").classes("warning")
    if not detail.lineage and not detail.differs:
        ui.label("Not forked, and no resume has changed its numbers.").classes("muted")


def _checkpoints(detail: TrialDetail) -> None:
    if not detail.checkpoints:
        ui.label("None yet.").classes("muted")
        return
    rows = [
        {
            "id": c.step,
            "epoch": f"{c.epoch:.2f}",
            "size": words.size(c.num_bytes),
            "differs": "; ".join(c.differs) or "–",
        }
        for c in reversed(detail.checkpoints)
    ]
    columns = [
        {"name": "id", "label": "step", "field": "id", "align": "right"},
        {"name": "epoch", "label": "epoch", "field": "epoch", "align": "right"},
        {"name": "size", "label": "size", "field": "size", "align": "right"},
        {"name": "differs", "label": "changed before it", "field": "differs", "align": "left"},
    ]
    ui.table(rows=rows, columns=columns).props('flat dense aria-label="Checkpoints"')


def _log(detail: TrialDetail) -> None:
    with ui.element("div").classes("card"):
        text_of(detail.log_tail or ["nothing yet"], label="The end of its log")
