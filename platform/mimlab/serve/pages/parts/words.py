"""Numbers and states in words, as every page says them."""

from __future__ import annotations

from mimlab.cli.bars import duration
from mimlab.search.hours_text import hours_text
from mimlab.serve.reading.models import SubmissionSummary


def percent(share: float) -> str:
    """`0.254` → `25 %`; nothing is whole before it is."""
    return f"{int(100 * share)} %"


def time_left(summary: SubmissionSummary) -> str:
    """`3 h 05 min`; empty where nothing runs."""
    return "" if summary.eta_s is None else duration(summary.eta_s)


def hours(summary: SubmissionSummary) -> str:
    """`12.5 of 200`; `…` while they are counted."""
    if summary.hours_spent is None:
        return "…"
    spent = hours_text(summary.hours_spent)
    return spent if summary.hours_limit is None else f"{spent} of {summary.hours_limit:,g}"


def hours_left(summary: SubmissionSummary) -> str:
    """What the limit leaves; empty without one."""
    if summary.hours_limit is None or summary.hours_spent is None:
        return ""
    return hours_text(max(0.0, summary.hours_limit - summary.hours_spent))


def spending(summary: SubmissionSummary) -> str:
    """`12.5 GPU h, 187 left`."""
    unit = summary.hours_unit.removesuffix("-hours")
    spent = "…" if summary.hours_spent is None else hours_text(summary.hours_spent)
    left = hours_left(summary)
    return f"{spent} {unit} h, {left} left" if left else f"{spent} {unit} h"


def counted(states: dict[str, int]) -> str:
    """`3 finished, 1 running`."""
    return ", ".join(f"{count} {state}" for state, count in states.items())


def day(created: str) -> str:
    """`2026-01-15 10:15` of ISO 8601."""
    return created[:16].replace("T", " ")


def size(num_bytes: int) -> str:
    """`1.5 GB`."""
    value, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"


def score(value: float | None) -> str:
    """A share of one in percent."""
    return "" if value is None else f"{100 * value:.2f}"
