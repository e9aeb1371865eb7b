"""The buttons that do something to a trial or a submission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from mimlab.serve.pages.parts.frame import say_refused
from mimlab.serve.pages.parts.permitted import Verb
from mimlab.serve.pages.parts.refused import Refused

ICONS: dict[Verb, str] = {
    "stop": "stop",
    "pause": "pause",
    "resume": "play_arrow",
    "retry failed": "replay",
    "fork": "call_split",
    "extend": "more_time",
}
ASKED: tuple[Verb, ...] = ("stop", "pause")
"""What interrupts somebody's work is asked for twice."""
BUDGETS = ("epochs", "images", "steps", "visible_tokens")
"""What may be raised: hours are measured where a study is submitted, and nowhere else."""

Act = Callable[[], Awaitable[None]]


def main_button(text: str, act: Callable[[], object]) -> ui.button:
    """What a form or a dialog is there for."""
    return ui.button(text, on_click=act, color=None).props("unelevated no-caps").classes("main")


def once(act: Act) -> Act:
    """What a button does, so that a press while an earlier one is under way does nothing."""
    busy = False

    async def pressed() -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            await act()
        finally:
            busy = False

    return pressed


class ActionButton:
    """A button that says why it cannot be pressed now, to the keyboard, too."""

    def __init__(self, verb: Verb, act: Act) -> None:
        self._verb = verb
        self._act = act
        self._reason = ""
        self._button = ui.button(verb.capitalize(), icon=ICONS[verb], on_click=once(self._pressed))
        self._button.props("outline no-caps")
        with self._button:
            self._tooltip = ui.tooltip("")

    def allow(self, reason: str) -> None:
        """`reason`: why not; empty: it may be pressed."""
        self._reason = reason
        # Not `disable`: such a button cannot be reached, and says nothing.
        self._button.props(f'aria-disabled="{"true" if reason else "false"}"')
        self._button.style(f"opacity: {0.55 if reason else 1}")
        self._tooltip.text = reason or f"{self._verb.capitalize()} it"

    async def _pressed(self) -> None:
        if self._reason:
            ui.notify(f"{self._verb.capitalize()}: {self._reason}", type="warning")
            return
        question = f"{self._verb.capitalize()} it? It saves a checkpoint and can go on from there."
        if self._verb in ASKED and not await confirmed(self._verb, question):
            return
        await done(self._act)


async def confirmed(verb: str, question: str) -> bool:
    """Ask once more."""
    with ui.dialog().props(f'aria-label="{verb.capitalize()}"') as dialog, ui.card():
        ui.label(question)
        with ui.row():
            main_button(verb.capitalize(), lambda: dialog.submit(True))
            ui.button("Leave it", on_click=lambda: dialog.submit(False)).props("flat no-caps")
    return bool(await dialog)


async def done(act: Act) -> bool:
    """Do it, or say why it was refused."""
    try:
        await act()
    except Refused as refused:
        say_refused(refused)
        return False
    return True


async def ask_budget(question: str, first: str) -> dict[str, float] | None:
    """Which budget to raise, and to what; None where one thinks better of it. `first`: the kind
    that is chosen already."""
    with ui.dialog().props('aria-label="Extend"') as dialog, ui.card():
        ui.label(question)
        kind = ui.select(list(BUDGETS), value=first, label="Budget")
        amount = ui.number("In all", min=0)
        with ui.row():
            main_button("Extend", lambda: dialog.submit(True))
            ui.button("Leave it", on_click=lambda: dialog.submit(False)).props("flat no-caps")
    if not await dialog or amount.value is None:
        return None
    return {kind.value: float(amount.value)}
