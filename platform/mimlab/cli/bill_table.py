"""The bill of a study, drawn."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mimlab.cli.bars import duration
from mimlab.search.bill import Bill, ShapeBill, gib
from mimlab.search.costs import Range
from mimlab.search.hours_text import hours_text


def bill_table(bill: Bill, warnings: list[str]) -> RenderableType:
    """A column for each shape and one for the total; then what is not billed, and warnings."""
    notes = [
        f"not billed: {_trials(count)} {words}"
        for count, words in (
            (bill.finished, "finished already, to be reused"),
            (bill.failed, "failed, which only --retry-failed starts again"),
        )
        if count
    ]
    parts: list[RenderableType] = [_table(bill)] if bill.shapes else []
    parts += [Text(note) for note in notes]
    parts += [Text(warning, style="yellow") for warning in warnings]
    return Group(*parts)


def _table(bill: Bill) -> Table:
    shapes = bill.shapes
    table = Table(title=f"the bill, {_trials(bill.at_once)} at once", title_justify="left")
    table.add_column("")
    for shape in shapes:
        table.add_column(shape.label.replace(", ", "\n"), justify="right")
    table.add_column("total", justify="right")

    def row(name: str, cells: list[str], total: str = "") -> None:
        table.add_row(name, *cells, total)

    row("trials", [f"{s.trials:,}" for s in shapes], f"{bill.trials:,}")
    row("steps", [f"{s.steps:,}" for s in shapes], f"{bill.steps:,}")
    row("step", [f"{s.measured.step_s * 1e3:,.1f} ms" for s in shapes])
    row("images/s", [f"{s.images_per_s:,.0f}" for s in shapes])
    for name in shapes[0].measured.probe_s:
        row(f"probe {name}", [f"{s.measured.probe_s[name]:.1f} s" for s in shapes])
    row("wall time", [_time(s.wall_s) for s in shapes], _time(bill.wall_s))
    row(bill.unit, [_hours(s.hours) for s in shapes], _hours(bill.hours))
    row("memory", [_memory(s) for s in shapes])
    row("a checkpoint", [gib(s.measured.checkpoint_bytes) for s in shapes])
    there = "" if bill.free_bytes is None else f" of {gib(bill.free_bytes)} free"
    free = gib(bill.storage_bytes) + there
    row("storage", [gib(s.storage_bytes) for s in shapes], free)
    return table


def _trials(count: int) -> str:
    return f"{count:,} trial" if count == 1 else f"{count:,} trials"


def _memory(shape: ShapeBill) -> str:
    workers = f"{shape.workers_at_once} × " if shape.workers_at_once > 1 else ""
    return f"{workers}{gib(shape.measured.peak_bytes)} of {gib(shape.measured.there_bytes)}"


def _time(range_: Range) -> str:
    return _ranged(duration(range_.low), duration(range_.high))


def _hours(range_: Range) -> str:
    return _ranged(hours_text(range_.low), hours_text(range_.high))


def _ranged(low: str, high: str) -> str:
    return high if low == high else f"{low} to {high}"
