"""The trials of a submission as a table that is sorted and filtered."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from mimlab.compare.style import metric_name
from mimlab.serve.pages.parts import tables, words
from mimlab.serve.pages.parts.panel import Panel
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import SubmissionDetail, TrialSummary

_FIRST = [
    tables.column("label", "trial"),
    tables.column("state", "state", kind="state"),
    tables.column("progress", "progress", kind="progress"),
    tables.column("step", "step", right=True),
    tables.column("images_per_s", "images/s", right=True),
]
_LAST = [tables.column("reason", "why", wrap=True)]


class TrialTable(Panel):
    """A row for each trial, a column for each axis and each probe."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        with ui.element("div").classes("tools"):
            wanted = ui.input("Filter").props("dense outlined clearable type=search")
        self._table = tables.SortedTable(_FIRST, label="Trials", rows_per_page=50)
        wanted.bind_value_to(self._table, "filter")

    async def show(self, detail: SubmissionDetail) -> None:
        axes = [tables.column(axis, _short(axis)) for axis in detail.axes]
        scores = [tables.column(m, f"{metric_name(m)} %", right=True) for m in detail.metrics]
        columns = [*_FIRST, *axes, tables.column("seed", "seed", right=True), *scores, *_LAST]
        # A dotted path is a nested field to the table: rows are keyed by the place of the column.
        for i, each in enumerate(columns):
            each["field"] = f"c{i}" if each["name"] not in _OWN else each["name"]
        self._table.columns = columns
        fields = {each["name"]: each["field"] for each in columns}
        self._table.update_rows(
            [_row(trial, detail, fields) for trial in detail.trials], clear_selection=False
        )


_OWN = ("label", "state", "progress", "step", "images_per_s", "seed", "reason")


def _row(trial: TrialSummary, detail: SubmissionDetail, fields: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": trial.id,
        "label": trial.label,
        "state": trial.state,
        "progress": trial.progress,
        "step": trial.step,
        "images_per_s": trial.images_per_s,
        "seed": trial.seed,
        "reason": trial.reason,
        "words": {m: words.score(score) for m, score in trial.scores.items()}
        | {"images_per_s": f"{trial.images_per_s:,.0f}" if trial.images_per_s else ""},
        "links": {"label": tables.link("trials", trial.id)},
    }
    row |= {fields[axis]: _shown(trial.point.get(axis)) for axis in detail.axes}
    return row | {fields[m]: trial.scores.get(m) for m in detail.metrics}


def _shown(value: Any) -> Any:
    return "–" if value is None else value


def _short(axis: str) -> str:
    """`masking.name` → `masking`; `masking.ratio` → `ratio`."""
    section, _, key = axis.rpartition(".")
    return section.rpartition(".")[2] if key == "name" and section else key
