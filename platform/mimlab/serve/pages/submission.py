"""`/submissions/{id}`: one submission: its trials, curves, comparison, boards and study."""

from __future__ import annotations

from fastapi import Request
from nicegui import ui

from mimlab.serve.pages.parts.boards import Boards
from mimlab.serve.pages.parts.comparison import Comparison
from mimlab.serve.pages.parts.curve_panel import CurvePanel
from mimlab.serve.pages.parts.frame import frame, heading, refusal, say_refused
from mimlab.serve.pages.parts.live import follow, notice
from mimlab.serve.pages.parts.panel import Panel
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import LIMIT_S, Site
from mimlab.serve.pages.parts.starting import starting
from mimlab.serve.pages.parts.study_text import StudyText
from mimlab.serve.pages.parts.submission_top import SubmissionTop
from mimlab.serve.pages.parts.trial_table import TrialTable
from mimlab.serve.reading.models import SubmissionDetail

TABS: dict[str, type[Panel]] = {
    "Trials": TrialTable,
    "Curves": CurvePanel,
    "Comparison": Comparison,
    "Boards": Boards,
    "Study": StudyText,
}


def add(site: Site) -> None:
    """Serve it."""

    @ui.page("/submissions/{submission_id}", response_timeout=LIMIT_S)
    async def submission(request: Request, submission_id: str, tab: str = "Trials") -> None:
        api = site.api(request)
        path = f"/submissions/{submission_id}"
        try:
            identity = await api.identity()
            found = await api.found(path, SubmissionDetail)
            if found is None:
                await starting(request, submission_id, api, identity)
                return
        except Refused as refused:
            refusal(request, submission_id, refused)
            return
        detail = found
        with frame(request, submission_id, identity):
            heading(detail.summary.id, detail.summary.question)
            said = notice()
            top = SubmissionTop(api, identity, on_ray=site.settings.address is not None)
            panels: dict[str, Panel] = {}
            first = tab if tab in TABS else "Trials"
            with ui.tabs().props("no-caps align=left dense outside-arrows") as tabs:
                for name in TABS:
                    ui.tab(name)
            # Not kept alive: a figure that is hidden cannot follow the size of its page.
            shown = ui.tab_panels(tabs, value=first, animated=False, keep_alive=False)
            with shown:
                for name, kind in TABS.items():
                    with ui.tab_panel(name):
                        panels[name] = kind(api)

            behind = True

            async def show() -> None:
                nonlocal behind
                await top.show(detail)
                await panels[str(shown.value)].show(detail)
                behind = False

            async def look() -> None:
                nonlocal detail, behind
                changed = await api.changed(path, SubmissionDetail)
                if changed is not None:
                    detail, behind = changed, True
                if behind:
                    await show()

            async def turned() -> None:
                try:
                    await panels[str(shown.value)].show(detail)
                except Refused as refused:
                    say_refused(refused)

            shown.on_value_change(turned)
            try:
                await show()
            except Refused as refused:
                say_refused(refused)
            follow(look, said)
