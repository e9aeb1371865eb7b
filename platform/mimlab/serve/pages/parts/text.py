"""Text in lines, some of them marked."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence

from nicegui import ui


def text_of(lines: Sequence[str], *, label: str, marked: Collection[int] = ()) -> None:
    """Scrolls inside, by keyboard too. `marked`: numbers of lines, from 0."""
    found = []
    for i, line in enumerate(lines):
        css = "line differs" if i in marked else "line"
        found.append(f'<span class="{css}">{html.escape(line) or "&nbsp;"}</span>')
    shown = ui.html("".join(found), sanitize=False, tag="div").classes("text")
    shown.props(f'tabindex="0" role="region" aria-label="{html.escape(label)}"')
