"""A YAML editor that is checked a moment after one stops typing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from mimlab.serve.checking import StudyProblem

PAUSE_S = 0.4
"""Without a key, before the text is checked."""


class Editor:
    """Line numbers, YAML, light and dark; `check` gets the text, the newest one only."""

    def __init__(self, text: str, check: Callable[[str], Awaitable[None]], *, label: str) -> None:
        self._check = check
        self._edits = 0
        with ui.element("div").props(f'role="group" aria-label="{label}"').style("width: 100%"):
            self._code = ui.codemirror(
                text, language="YAML", theme="basicLight", indent="  ", on_change=self._changed
            )
        self._code.classes("editor").props(f'aria-label="{label}"')

    @property
    def text(self) -> str:
        """As it stands."""
        return self._code.value or ""

    def set(self, text: str) -> None:
        """Put another text in its place."""
        self._code.value = text

    async def _changed(self) -> None:
        self._edits += 1
        mine = self._edits
        await asyncio.sleep(PAUSE_S)
        if mine == self._edits:
            await self._check(self.text)


def problem_words(problem: StudyProblem, *, above: int = 0) -> str:
    """Where and what; `above`: lines of what was checked that stand above the editor's first."""
    place = "" if problem.line is None else f"line {problem.line - above}: "
    return f"{place}{problem.field + ': ' if problem.field else ''}{problem.message}"


def problems_list(problems: Sequence[str]) -> None:
    """What is wrong, a line each."""
    if not problems:
        return
    with ui.element("ul").classes("problems"):
        for each in problems:
            with ui.element("li").classes("problem"):
                ui.label(each)
