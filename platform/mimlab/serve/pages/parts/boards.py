"""Boards of all trials side by side, at a step that a slider chooses."""

from __future__ import annotations

from functools import partial

from nicegui import ui

from mimlab.serve.pages.parts.frame import nothing
from mimlab.serve.pages.parts.kept import Kept
from mimlab.serve.pages.parts.panel import Panel
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import SubmissionDetail, TrialSummary
from mimlab.serve.security.headers import PREFIX

MOST_TRIALS = 24


class Boards(Panel):
    """Each trial's last board up to the chosen step."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._trials: list[TrialSummary] = []
        self._steps: list[int] = []
        self._empty = ui.element("div")
        with self._empty:
            nothing("No boards yet", "A trial draws one at each checkpoint that is probed.")
        self._full = ui.element("div")
        with self._full:
            ui.label("Each board: inputs, what is masked, what is predicted.").classes("muted")
            self._label = ui.label("")
            self._slider = ui.slider(min=0, max=1, step=1, value=0, on_change=self._draw)
            self._slider.props('markers snap aria-label="Step of the boards"')
            self._note = ui.label("").classes("muted")
            self._grid = Kept(ui.element("div").classes("boards"))
            self._boards: dict[str, Kept] = {}

    async def show(self, detail: SubmissionDetail) -> None:
        trials = [trial for trial in detail.trials if trial.board_steps]
        steps = sorted({step for trial in trials for step in trial.board_steps})
        self._empty.set_visibility(not trials)
        self._full.set_visibility(bool(trials))
        known = [(trial.id, trial.board_steps) for trial in self._trials]
        if known == [(trial.id, trial.board_steps) for trial in trials]:
            return
        at_end = not self._steps or self._place >= len(self._steps) - 1
        self._trials, self._steps = trials, steps
        self._slider.props(f"max={max(1, len(steps) - 1)}")
        self._slider.set_visibility(len(steps) > 1)
        if at_end and self._place != len(steps) - 1:
            self._slider.value = len(steps) - 1  # draws
        else:
            self._draw()

    @property
    def _place(self) -> int:
        """Of the chosen step among the steps."""
        return int(self._slider.value or 0)

    def _draw(self) -> None:
        if not self._steps:
            return
        step = self._steps[min(self._place, len(self._steps) - 1)]
        self._label.text = f"Step {step:,}"
        shown = self._trials[:MOST_TRIALS]
        more = len(self._trials) - len(shown)
        self._note.text = f"{more} more trials are on their own pages" if more else ""
        ids = [trial.id for trial in shown]
        self._grid.show(ids, lambda: self._make_places(ids))
        for trial in shown:
            last = max((each for each in trial.board_steps if each <= step), default=None)
            self._boards[trial.id].show((last, last or step), partial(_figure, trial, last, step))

    def _make_places(self, ids: list[str]) -> None:
        self._boards = {trial_id: Kept(ui.element("figure")) for trial_id in ids}


def _figure(trial: TrialSummary, last: int | None, step: int) -> None:
    """`last`: the trial's last board up to `step`."""
    if last is not None:
        board(trial, last)
    with ui.element("figcaption"):
        ui.link(trial.label, f"/trials/{trial.id}")
        said = f"no board up to step {step:,}" if last is None else f"step {last:,}"
        ui.label(said).classes("muted")


def board(trial: TrialSummary, step: int) -> None:
    """One picture, which the browser asks the API for."""
    picture = ui.element("img").props("loading=lazy")
    picture.props(f'src="{PREFIX}/trials/{trial.id}/boards/{step}"')
    picture.props["alt"] = f"Board of {trial.label} at step {step}"  # a label may hold quotes
