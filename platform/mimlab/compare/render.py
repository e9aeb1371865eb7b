"""The comparison as a table for the terminal."""

from __future__ import annotations

import statistics

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mimlab.compare.rows import Comparison, Row

BASELINES = {
    "random-init": "random-initialised encoder",
    "raw-pixels": "raw pixels",
}


def table_of(comparison: Comparison) -> RenderableType:
    """Rows by score, the baselines under them, and a plain word where raw pixels win."""
    table = Table(title=comparison.study, caption=comparison.question or None)
    table.add_column("masking")
    for name in ("ratio asked", "realised", "images/s", *map(short, comparison.metrics)):
        table.add_column(name, justify="right")
    first = comparison.metrics[0] if comparison.metrics else ""
    for row in sorted(comparison.rows, key=lambda row: -(row.mean(first) or -1.0)):
        table.add_row(_name(row), *_cells(row, comparison.metrics))
    table.add_section()
    for row in comparison.baselines:
        table.add_row(BASELINES.get(row.label, row.label), *_cells(row, comparison.metrics))
    return Group(table, *_words(comparison))


def short(metric: str) -> str:
    """`probe/knn/top1` → `knn`."""
    return metric.split("/")[1] if metric.startswith("probe/") else metric


def _words(comparison: Comparison) -> list[RenderableType]:
    words: list[RenderableType] = [Text(comparison.budget)]
    words += [Text(each, style="yellow") for each in comparison.unlike]
    if comparison.pixels_win:
        names = " and ".join(short(key) for key in comparison.pixels_win)
        words.append(Text(f"Raw pixels beat every encoder by {names}.", style="yellow"))
    if comparison.best_trial is not None:
        words.append(Text(f"Best trial by {short(comparison.metrics[0])}: {comparison.best_trial}"))
    return words


def _name(row: Row) -> str:
    unfinished = sorted({state for state in row.states if state != "finished"})
    return f"{row.label} ({', '.join(unfinished)})" if unfinished else row.label


def _cells(row: Row, metrics: list[str]) -> list[str]:
    speed = "" if row.images_per_s is None else f"{row.images_per_s:,.0f}"
    ratios = [_number(row.ratio_asked, "{:g}"), _number(row.ratio_realised, "{:.4g}")]
    return [*ratios, speed, *(_score(row.scores.get(key, [])) for key in metrics)]


def _number(value: float | str | None, form: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return form.format(value)


def _score(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"
