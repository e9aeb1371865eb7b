"""Tables that sort by keyboard, too, and scroll inside on narrow screens."""

from __future__ import annotations

from typing import Any

from nicegui import ui

_HEADER = """
<q-th :props="props" :tabindex="props.col.sortable ? 0 : undefined"
      @keydown.enter="props.col.sortable && props.sort(props.col)"
      @keydown.space.prevent="props.col.sortable && props.sort(props.col)">
  {{ props.col.label }}
</q-th>"""
STATE = """
<q-td :props="props"><span :class="'state state-' + props.value">{{ props.value }}</span></q-td>"""
PROGRESS = """
<q-td :props="props">
  <span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"
        :aria-valuenow="Math.floor(100 * props.value)" :aria-label="'progress of ' + props.row.id">
    <div :style="{width: 100 * props.value + '%'}"></div></span>
  {{ Math.floor(100 * props.value) }} %
</q-td>"""


def link_to(folder: str) -> str:
    """A cell that leads to the row's own page."""
    return (
        f'<q-td :props="props"><a :href="\'/{folder}/\' + encodeURIComponent(props.row.id)">'
        "{{ props.value }}</a></q-td>"
    )


def column(
    name: str, label: str, *, right: bool = False, wrap: bool = False, shown: str = ""
) -> dict[str, Any]:
    """One that can be sorted by.

    `shown`: what JavaScript makes of the cell's `value` and its `row`, where that is another thing
    to read than to sort by.
    """
    found = {
        "name": name,
        "label": label,
        "field": name,
        "sortable": True,
        "align": "right" if right else "left",
        "classes": "wrap" if wrap else "",
    }
    return found | ({":format": f"(value, row) => {shown}"} if shown else {})


def table(columns: list[dict[str, Any]], *, label: str, rows_per_page: int = 25) -> ui.table:
    """Empty at first; `rows` have an `id`."""
    shown = ui.table(
        rows=[], columns=columns, row_key="id", pagination={"rowsPerPage": rows_per_page}
    )
    shown.props(f'flat aria-label="{label}" no-data-label="Nothing matches the filter."')
    shown.add_slot("header-cell", _HEADER)
    return shown
