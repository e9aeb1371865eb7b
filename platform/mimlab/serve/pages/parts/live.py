"""A page follows what happens: it asks again now and then, for what has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from mimlab.serve.pages.parts.refused import Refused

PERIOD_S = 3.0
UNAUTHORIZED = 401


def follow(look: Callable[[], Awaitable[None]], notice: ui.label) -> ui.timer:
    """Call `look` every few seconds; what it is refused stands in `notice` until it succeeds."""
    busy = False

    async def tick() -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            await look()
            notice.text = ""
        except Refused as refused:
            if refused.status == UNAUTHORIZED:
                timer.cancel()
                ui.navigate.to("/login")
            notice.text = f"What is shown may be old: {refused}"
        finally:
            busy = False

    timer = ui.timer(PERIOD_S, tick)
    return timer


def notice() -> ui.label:
    """Where `follow` says what hinders it."""
    return ui.label("").classes("problem").props('role="status"')
