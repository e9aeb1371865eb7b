"""`/`: all submissions, what they have come to, and what somebody should look at."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from nicegui import ui

from mimlab.serve.pages.parts import tables, words
from mimlab.serve.pages.parts.frame import frame, heading, nothing, refusal
from mimlab.serve.pages.parts.live import follow, notice
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import LIMIT_S, Site
from mimlab.serve.reading.models import SubmissionSummary
from mimlab.serve.routes.queue import QueueView

COLUMNS = [
    tables.column("id", "submission"),
    tables.column("state", "state", kind="state"),
    tables.column("progress", "progress", kind="progress"),
    tables.column("left", "time left"),
    tables.column("trials", "trials", wrap=True),
    tables.column("spent", "device hours"),
    tables.column("user", "by"),
    tables.column("created", "created"),
    tables.column("health", "look at", wrap=True),
]
Summaries = list[SubmissionSummary]


def add(site: Site) -> None:
    """Serve it."""

    @ui.page("/", response_timeout=LIMIT_S)
    async def submissions(request: Request) -> None:
        api = site.api(request)
        try:
            identity = await api.identity()
            found = await api.changed("/submissions", Summaries) or []
            queue = await api.changed("/queue", QueueView) or QueueView(entries=[], shares=[])
        except Refused as refused:
            refusal(request, "Submissions", refused)
            return
        with frame(request, "Submissions", identity):
            heading("Submissions")
            said = notice()
            not_begun = ui.link("", "/queue")
            empty, full = ui.element("div"), ui.element("div")
            with empty:
                nothing(
                    "Nothing has been submitted yet",
                    "Paste a study under Submit, or run: mimlab submit sweeps/quickstart.yaml",
                )
                ui.link("Submit a study", "/submit")
            with full:
                with ui.element("div").classes("tools"):
                    wanted = ui.input("Filter").props("dense outlined clearable type=search")
                    states = ["running", "lost", "failed", "stopped", "pending", "finished"]
                    state = ui.select(states, label="State", clearable=True)
                    state.props("dense outlined")
                shown = tables.SortedTable(COLUMNS, label="Submissions")
                wanted.bind_value_to(shown, "filter")

            def show() -> None:
                begun = {summary.id for summary in found}
                waiting = {e.submission for e in queue.entries} - begun
                not_begun.text = f"{len(waiting)} in the queue have not begun"
                not_begun.set_visibility(bool(waiting))
                empty.set_visibility(not found and not waiting)
                full.set_visibility(bool(found))
                rows = [_row(s) for s in found if state.value in (None, s.state)]
                shown.update_rows(rows, clear_selection=False)

            behind = False

            async def look() -> None:
                nonlocal found, queue, behind
                changed = await api.changed("/submissions", Summaries)
                if changed is not None:
                    found, behind = changed, True
                moved = await api.changed("/queue", QueueView)
                if moved is not None:
                    queue, behind = moved, True
                if behind:
                    show()
                    behind = False

            state.on_value_change(show)
            show()
            follow(look, said)


def _row(summary: SubmissionSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "state": summary.state,
        "progress": summary.progress,
        "left": summary.eta_s,
        "trials": words.counted({str(k): v for k, v in summary.trials.items()}),
        "spent": summary.hours_spent,
        "user": summary.user,
        "created": words.day(summary.created),
        "health": "; ".join(summary.health),
        "words": {"left": words.time_left(summary), "spent": words.spending(summary)},
        "links": {"id": tables.link("submissions", summary.id)},
    }
