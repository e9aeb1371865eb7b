"""`/trials/{id}`: one trial: what it is, where it stands, what may be done to it."""

from __future__ import annotations

from fastapi import Request
from nicegui import ui

from mimlab.serve.pages.parts.frame import frame, heading, refusal, say_refused
from mimlab.serve.pages.parts.live import follow, notice
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import LIMIT_S, Site
from mimlab.serve.pages.parts.trial_body import TrialBody
from mimlab.serve.pages.parts.trial_top import TrialTop
from mimlab.serve.reading.models import SubmissionDetail, TrialDetail
from mimlab.serve.routes.trials import RunBy


def add(site: Site) -> None:
    """Serve it."""

    @ui.page("/trials/{trial_id}", response_timeout=LIMIT_S)
    async def trial(request: Request, trial_id: str, submission: str = "") -> None:
        """`submission`: the one that is asked about a trial of several; else the one that runs
        it."""
        api = site.api(request)
        try:
            identity = await api.identity()
            of_trial = f"/trials/{trial_id}/submission"
            parent = submission or (await api.get(of_trial, RunBy)).submission
            path = f"/submissions/{parent}/trials/{trial_id}"
            detail = await api.get(path, TrialDetail)
            of = await api.get(f"/submissions/{parent}", SubmissionDetail)
        except Refused as error:
            refusal(request, trial_id, error)
            return
        with frame(request, detail.summary.label, identity):
            with ui.element("div").classes("muted"):
                ui.link(parent, f"/submissions/{parent}")
            heading(detail.summary.label, f"trial {trial_id}")
            said = notice()
            top = TrialTop(api, identity, on_ray=site.settings.address is not None)
            body = TrialBody(api)

            behind = True

            async def show() -> None:
                nonlocal behind
                top.show(detail, of.summary)
                await body.show(detail)
                behind = False

            async def look() -> None:
                nonlocal detail, of, behind
                changed = await api.changed(path, TrialDetail)
                if changed is not None:
                    detail, behind = changed, True
                changed_of = await api.changed(f"/submissions/{parent}", SubmissionDetail)
                if changed_of is not None:
                    of, behind = changed_of, True
                if behind:
                    await show()

            try:
                await show()
            except Refused as refused:
                say_refused(refused)
            follow(look, said)
