"""`/queue`: what waits and what runs, and what everybody may hold."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from nicegui import ui

from mimlab.serve.identity.permissions import may
from mimlab.serve.pages.parts import tables, words
from mimlab.serve.pages.parts.buttons import Act, confirmed, done, once
from mimlab.serve.pages.parts.frame import frame, heading, nothing, refusal, section
from mimlab.serve.pages.parts.live import follow, notice
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import LIMIT_S, Api, Site
from mimlab.serve.queue.records import Need, Share
from mimlab.serve.routes.queue import QueueItem, QueueView
from mimlab.serve.routes.session import Identity

COLUMNS = [
    tables.column("place", "place", right=True),
    tables.column("submission", "submission"),
    tables.column("state", "state", kind="state"),
    tables.column("user", "by"),
    tables.column("priority", "priority", right=True),
    tables.column("need", "needs"),
    tables.column("queued", "queued"),
    tables.column("problem", "look at", wrap=True),
]
SHARES = [
    tables.column("id", "user"),
    tables.column("in_use", "holds"),
    tables.column("quota", "may hold"),
]


def add(site: Site) -> None:
    """Serve it."""

    @ui.page("/queue", response_timeout=LIMIT_S)
    async def queue(request: Request) -> None:
        api = site.api(request)
        try:
            identity = await api.identity()
            found = await api.changed("/queue", QueueView)
        except Refused as refused:
            refusal(request, "Queue", refused)
            return
        with frame(request, "Queue", identity):
            heading(
                "Queue",
                "The most urgent starts first; of equal ones that of whoever holds least of their "
                "share.",
            )
            said = notice()
            empty, full = ui.element("div"), ui.element("div")
            with empty:
                nothing("Nothing waits and nothing runs", "What is submitted starts at once.")
            with full:
                shown = tables.SortedTable(COLUMNS, label="Queue")
                shares_title = ui.element("div")
                with shares_title:
                    section("Shares")
                shares = tables.SortedTable(SHARES, label="Shares")
                change = _Change(api, identity)

            def show(view: QueueView) -> None:
                empty.set_visibility(not view.entries)
                full.set_visibility(bool(view.entries))
                shown.update_rows(_rows(view.entries))
                shares.update_rows(
                    [
                        {"id": s.user, "in_use": _words(s.in_use), "quota": _limits(s.quota)}
                        for s in view.shares
                    ]
                )
                change.show(view.entries)

            async def look() -> None:
                view = await api.changed("/queue", QueueView)
                if view is not None:
                    show(view)

            if found is not None:
                show(found)
            follow(look, said)


class _Change:
    """Takes something out, or says how urgent it is."""

    def __init__(self, api: Api, identity: Identity) -> None:
        self._api, self._identity = api, identity
        self._mine: dict[int, str] = {}
        self._box = ui.element("div").classes("tools")
        with self._box:
            self._which = ui.select({}, label="What waits", on_change=self._choose)
            self._which.props("dense outlined")
            self._buttons = [_button("Withdraw", self._withdraw)]
            if may(identity.role, "prioritise"):
                self._priority = ui.number("Priority", value=0, min=-1000, max=1000, precision=0)
                self._priority.props("dense outlined")
                self._buttons.append(_button("Set priority", self._prioritise))
        self._choose()

    def show(self, entries: list[QueueItem]) -> None:
        """What waits now. Nothing takes the place of what was chosen and is gone."""
        self._mine = {
            e.number: e.submission
            for e in entries
            if e.state == "waiting"
            and may(self._identity.role, "withdraw", own=e.user == self._identity.name)
        }
        kept = self._which.value if self._which.value in self._mine else None
        options = {number: f"{number} · {name}" for number, name in self._mine.items()}
        self._which.set_options(options, value=kept)
        self._box.set_visibility(bool(options))

    def _choose(self) -> None:
        for button in self._buttons:
            button.set_enabled(self._which.value is not None)

    async def _withdraw(self) -> None:
        number = self._which.value
        name = self._mine[number]

        async def act() -> None:
            await self._api.delete(f"/queue/{number}")
            ui.notify(f"{name} is out of the queue.")

        if await confirmed("withdraw", f"Take {name}, number {number}, out of the queue?"):
            await done(act)

    async def _prioritise(self) -> None:
        number, priority = self._which.value, int(self._priority.value or 0)
        name = self._mine[number]

        async def act() -> None:
            await self._api.put(f"/queue/{number}/priority", {"priority": priority})
            ui.notify(f"{name} has priority {priority}.")

        await done(act)


def _button(text: str, act: Act) -> ui.button:
    return ui.button(text, on_click=once(act)).props("outline no-caps")


def _rows(entries: list[QueueItem]) -> list[dict[str, Any]]:
    """What runs first, then what waits, in the order in which it starts."""
    return [
        {
            "id": e.number,
            "place": e.place,
            "submission": e.submission,
            "state": e.state,
            "user": e.user,
            "priority": e.priority,
            "need": _words(e.need),
            "queued": words.day(e.queued),
            "problem": e.problem,
            "links": {"submission": tables.link("submissions", e.submission)},
        }
        for e in sorted(entries, key=lambda e: (e.state != "started", e.place is None, e.place))
    ]


def _words(need: Need) -> str:
    """`2 GPUs, 16 CPUs`."""
    found = ((need.gpus, "GPUs"), (need.cpus, "CPUs"))
    return ", ".join(f"{count:g} {unit}" for count, unit in found if count) or "nothing"


def _limits(share: Share) -> str:
    """The same of a quota."""
    found = ((share.gpus, "GPUs"), (share.cpus, "CPUs"))
    words_ = [f"{limit:g} {unit}" for limit, unit in found if limit is not None]
    return ", ".join(words_) or "no limit"
