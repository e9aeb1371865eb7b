"""A YAML editor that is checked a moment after one stops typing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from nicegui import ui

from mimlab.serve.checking import StudyProblem

PAUSE_S = 0.4
"""Without a key, before the text is checked."""


_MOUNTED = """(node, label) => {
  // What takes the keys is made by CodeMirror, which is told no name for it.
  node.el.querySelector(".cm-content").ariaLabel = label;
  // A page loads itself anew where its server was away for long, and what was typed is not lost.
  const {editor} = node.component.proxy, key = `${location.pathname} ${label}`;
  const first = editor.state.doc.toString(), typed = sessionStorage.getItem(key);
  sessionStorage.removeItem(key);
  if (typed !== null && performance.getEntriesByType("navigation")[0].type === "reload")
    editor.dispatch({changes: {from: 0, to: first.length, insert: typed}});
  addEventListener("pagehide", () => {
    const text = editor.state.doc.toString();
    if (node.el.isConnected && text !== first) sessionStorage.setItem(key, text);
  });
}"""

FoundT = TypeVar("FoundT")


class Editor(Generic[FoundT]):
    """Line numbers, YAML, light and dark. `check` gets the text; `show` gets what it found, unless
    the text has been edited or checked anew since."""

    def __init__(
        self,
        text: str,
        check: Callable[[str], Awaitable[FoundT]],
        show: Callable[[FoundT], None],
        *,
        label: str,
    ) -> None:
        self._check, self._show = check, show
        self._looks = 0
        with ui.element("div").props(f'role="group" aria-label="{label}"').style("width: 100%"):
            self._code = ui.codemirror(
                text, language="YAML", theme="basicLight", indent="  ", on_change=self._changed
            )
            ui.label("Tab indents; Escape and then Tab leaves the text.").classes("muted")
        self._code.classes("editor")
        mounted = f"(node) => ({_MOUNTED})(node, {json.dumps(label)})"
        self._code.on("vnodeMounted", js_handler=mounted)

    @property
    def text(self) -> str:
        """As it stands."""
        return self._code.value or ""

    def set(self, text: str) -> None:
        """Put another text in its place."""
        self._code.value = text

    async def look(self) -> FoundT | None:
        """Check the text as it stands, and show what was found; None where the text has been edited
        or checked anew meanwhile."""
        mine = self._next()
        found = await self._check(self.text)
        if mine != self._looks:
            return None
        self._show(found)
        return found

    async def _changed(self) -> None:
        mine = self._next()
        await asyncio.sleep(PAUSE_S)
        if mine == self._looks:
            await self.look()

    def _next(self) -> int:
        self._looks += 1
        return self._looks


def problem_words(problem: StudyProblem) -> str:
    """Where and what."""
    place = "" if problem.line is None else f"line {problem.line}: "
    return f"{place}{problem.field + ': ' if problem.field else ''}{problem.message}"


def problems_list(problems: Sequence[str]) -> None:
    """What is wrong, a line each."""
    if not problems:
        return
    with ui.element("ul").classes("problems"):
        for each in problems:
            with ui.element("li").classes("problem"):
                ui.label(each)
