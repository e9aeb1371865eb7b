"""A submission that has no folder yet: it waits, its driver starts, or it ended too early."""

from __future__ import annotations

from fastapi import Request
from nicegui import ui

from mimlab.serve.pages.parts.frame import frame, heading
from mimlab.serve.pages.parts.kept import Kept
from mimlab.serve.pages.parts.live import follow, notice
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.pages.parts.text import text_of
from mimlab.serve.reading.models import SubmissionDetail
from mimlab.serve.routes.queue import QueueItem
from mimlab.serve.routes.session import Identity
from mimlab.serve.routes.submissions import LogTail

LINES = 40
_STATES = {
    "waiting": "It waits in the queue until its user's share has room.",
    "started": "Its driver starts. Its trials will be here as soon as it has written them down.",
    "ended": "Its driver ended before it had written anything down. This is what it said last:",
    "withdrawn": "It was taken out of the queue before it began.",
}


async def starting(request: Request, submission_id: str, api: Api, identity: Identity) -> None:
    """The page of a submission that only the queue knows; it turns into the submission's own.

    Raises Refused where the queue does not know it either.
    """
    path = f"/submissions/{submission_id}"
    item = await api.get(f"{path}/queued", QueueItem)
    with frame(request, submission_id, identity):
        heading(submission_id)
        said = notice()
        state = ui.label().props('role="status"')
        problem = ui.label().classes("problem")
        ui.link("The queue", "/queue")
        unheard = ui.label().classes("problem")
        log = ui.element("div").classes("card")
        log.set_visibility(False)
        kept = Kept(log)

        async def show(item: QueueItem) -> None:
            state.text = _STATES[item.state]
            problem.text = item.problem
            if item.state in ("started", "ended"):
                await listen()

        async def listen() -> None:
            try:
                lines = (await api.get(f"{path}/log", LogTail, {"lines": LINES})).lines
            except Refused as refused:  # what the storage knows is shown without Ray, too
                unheard.text = str(refused)
                return
            unheard.text = ""
            kept.show(lines, lambda: text_of(lines, label="What its driver said"))
            log.set_visibility(bool(lines))

        async def look() -> None:
            if await api.found(path, SubmissionDetail) is not None:
                ui.navigate.reload()
            else:
                await show(await api.get(f"{path}/queued", QueueItem))

        await show(item)
        follow(look, said)
