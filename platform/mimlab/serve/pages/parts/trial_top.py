"""The top of a trial's page: where it stands, where else it is shown, what may be done to it."""

from __future__ import annotations

from nicegui import ui

from mimlab.compare.style import metric_name
from mimlab.serve.pages.parts import words
from mimlab.serve.pages.parts.buttons import ActionButton, ask_budget
from mimlab.serve.pages.parts.facts import Fact, Facts
from mimlab.serve.pages.parts.fork import ask_fork
from mimlab.serve.pages.parts.permitted import VERBS, Verb, of_trial
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import SubmissionSummary, TrialDetail
from mimlab.serve.routes.session import Identity


class TrialTop:
    """Facts, links and buttons."""

    def __init__(self, api: Api, identity: Identity, *, on_ray: bool) -> None:
        """`on_ray`: whether drivers are jobs of a Ray cluster."""
        self._api, self._identity, self._on_ray = api, identity, on_ray
        self._detail: TrialDetail | None = None
        with ui.element("div").classes("card"):
            self._facts = Facts()
        self._reason = ui.label("").classes("warning").props('role="status"')
        with ui.element("div").classes("tools"):
            self._buttons: dict[Verb, ActionButton] = {
                verb: ActionButton(verb, self._act(verb)) for verb in VERBS
            }

    def show(self, detail: TrialDetail, submission: SubmissionSummary) -> None:
        """As it is now."""
        self._detail, trial = detail, detail.summary
        facts = [
            Fact.state(trial.state),
            Fact.progress(trial.progress, "progress of the trial"),
            Fact.words("step", f"{trial.step:,} of {trial.total_steps:,}"),
            Fact.words("epoch", f"{trial.epoch:.1f}"),
        ]
        if trial.images_per_s:
            facts.append(Fact.words("images/s", f"{trial.images_per_s:,.0f}"))
        for metric, value in trial.scores.items():
            facts.append(Fact.words(metric_name(metric), f"{words.score(value)} %"))
        if detail.mlflow_link is not None:
            facts.append(Fact.mlflow("its run", detail.mlflow_link, detail.mlflow_problem))
        else:
            facts.append(Fact.words("MLflow", "no page" if detail.mlflow_uri else "not shown yet"))
        if self._on_ray:
            facts.append(Fact.job(detail.submission))
        self._facts.show(facts)
        lost = (
            "Recorded as running, but nothing is heard of it: resume it."
            if trial.state == "lost"
            else ""
        )
        self._reason.text = "\n".join(filter(None, (trial.reason, lost)))
        for verb, button in self._buttons.items():
            button.allow(of_trial(verb, self._identity, detail, submission))

    def _act(self, verb: Verb):
        async def act() -> None:
            detail = self._detail
            assert detail is not None
            path = f"/submissions/{detail.submission}/trials/{detail.summary.id}"
            match verb:
                case "fork":
                    await self._fork(detail, path)
                case "extend":
                    steps = f"{detail.summary.total_steps:,} steps"
                    asked = f"It has {steps}: how much shall it have in all?"
                    budget = await ask_budget(asked, "steps")
                    if budget is not None:
                        launched = await self._api.post(f"{path}/extend", {"budget": budget})
                        ui.navigate.to(f"/submissions/{launched['submission']}")
                case "resume" | "retry failed":
                    body = {"retry_failed": verb == "retry failed"}
                    await self._api.post(f"{path}/resume", body)
                    ui.notify("It goes on as soon as there is room.")
                case "stop" | "pause":
                    await self._api.post(f"{path}/{verb}")
                    ui.notify(f"{verb.capitalize()}: asked for; it takes effect within seconds.")

        return act

    async def _fork(self, detail: TrialDetail, path: str) -> None:
        fork = await ask_fork(self._api, detail)
        if fork is not None:
            launched = await self._api.post(f"{path}/fork", fork.model_dump())
            ui.navigate.to(f"/submissions/{launched['submission']}")
