"""Tables that sort by keyboard, too, and scroll inside on narrow screens."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from nicegui import ui

Kind = Literal["text", "state", "progress"]


def column(
    name: str, label: str, *, right: bool = False, wrap: bool = False, kind: Kind = "text"
) -> dict[str, Any]:
    """One that can be sorted by. `kind`: how its values are drawn."""
    return {
        "name": name,
        "label": label,
        "field": name,
        "sortable": True,
        "align": "right" if right else "left",
        "classes": "wrap" if wrap else "",
        "kind": kind,
    }


def link(folder: str, name: str) -> str:
    """The page of a submission or a trial."""
    return f"/{folder}/{quote(name, safe='')}"


class SortedTable(ui.table, component="sorted_table.js"):
    """Empty at first.

    `rows` have an `id`; `words`, by column, where another thing is read than is sorted by; and
    `links`, by column, where a cell leads somewhere.
    """

    def __init__(self, columns: list[dict[str, Any]], *, label: str, rows_per_page: int = 25):
        super().__init__(
            rows=[], columns=columns, row_key="id", pagination={"rowsPerPage": rows_per_page}
        )
        nothing = "Nothing matches the filter."  # the table's own, or one that chooses its rows
        self.props(f'flat aria-label="{label}"')
        self.props(f'no-results-label="{nothing}" no-data-label="{nothing}"')
