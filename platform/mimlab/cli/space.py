"""The space of an adaptive search, as `mimlab plan` shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from mimlab.search.preview import Preview, PreviewAxis


def space_table(shown: Preview, axes: list[PreviewAxis]) -> Table:
    """An axis a line, with its bounds and when it exists."""
    seeds = len({trial.seed for trial in shown.trials})
    title = (
        f"{shown.study}: {shown.num_trials} trials, chosen one after the other from this space; "
        f"the first {len(shown.trials)} by chance"
    )
    table = Table(title=title if seeds == 1 else f"{title}, each point with {seeds} seeds")
    table.title_justify = "left"
    for name in ("axis", "values", "only where"):
        table.add_column(name)
    for axis in axes:
        condition = ", ".join(f"{path}={_text(value)}" for path, value in axis.condition.items())
        table.add_row("\n".join(axis.paths), _values(axis), condition)
    return table


def _values(axis: PreviewAxis) -> str:
    if axis.values is not None:
        return ", ".join(_text(value) for value in axis.values)
    kind = [word for word, meant in (("whole", axis.integer), ("log", axis.log)) if meant]
    return f"{axis.low:g} to {axis.high:g}" + (f" ({', '.join(kind)})" if kind else "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
