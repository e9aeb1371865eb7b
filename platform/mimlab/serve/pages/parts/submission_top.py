"""The top of a submission's page: where it stands, and what may be done to all of it."""

from __future__ import annotations

from nicegui import ui

from mimlab.serve.pages.parts import words
from mimlab.serve.pages.parts.buttons import ActionButton, ask_budget
from mimlab.serve.pages.parts.facts import Fact, Facts
from mimlab.serve.pages.parts.permitted import Verb, of_submission
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import SubmissionDetail
from mimlab.serve.routes.queue import QueueView
from mimlab.serve.routes.session import Identity

VERBS: tuple[Verb, ...] = ("stop", "pause", "resume", "retry failed", "extend")


class SubmissionTop:
    """Facts and buttons."""

    def __init__(self, api: Api, identity: Identity, *, on_ray: bool) -> None:
        """`on_ray`: whether drivers are jobs of a Ray cluster."""
        self._api, self._identity, self._on_ray = api, identity, on_ray
        self._id = ""
        with ui.element("div").classes("card"):
            self._facts = Facts()
        self._health = ui.label("").classes("warning").props('role="status"')
        with ui.element("div").classes("tools"):
            self._buttons: dict[Verb, ActionButton] = {
                verb: ActionButton(verb, self._act(verb)) for verb in VERBS
            }

    async def show(self, detail: SubmissionDetail) -> None:
        """As it is now. Raises Refused."""
        summary = detail.summary
        self._id = summary.id
        place = await self._place()
        driver = {True: "lives", False: "none", None: "being watched"}[summary.driver_alive]
        facts = [
            Fact.state(summary.state),
            Fact.progress(summary.progress, "progress of the submission"),
            Fact.words("time left", words.time_left(summary) or "–"),
            Fact.words(summary.hours_unit, words.hours(summary)),
        ]
        if left := words.hours_left(summary):
            facts.append(Fact.words("left to spend", left))
        trials = words.counted({str(k): v for k, v in summary.trials.items()})
        facts += [
            Fact.words("trials", trials),
            Fact.words("driver", driver),
            Fact.words("by", f"{summary.user}, {words.day(summary.created)}"),
        ]
        if place:
            facts.append(Fact.words("in the queue", place))
        if detail.mlflow_link is not None:
            facts.append(Fact.mlflow("its experiment", detail.mlflow_link, detail.mlflow_problem))
        if self._on_ray:
            facts.append(Fact.job(self._id))
        self._facts.show(facts)
        self._health.text = "\n".join(summary.health)
        for verb, button in self._buttons.items():
            button.allow(of_submission(verb, self._identity, detail))

    async def _place(self) -> str:
        try:
            view = await self._api.get("/queue", QueueView)
        except Refused:
            return ""  # the page says of itself what it can
        of = sum(entry.place is not None for entry in view.entries)
        own = next((e.place for e in view.entries if e.submission == self._id), None)
        return "" if own is None else f"place {own} of {of}"

    def _act(self, verb: Verb):
        async def act() -> None:
            path = f"/submissions/{self._id}"
            if verb == "extend":
                budget = await ask_budget(
                    "How much shall each of its trials have in all?", "epochs"
                )
                if budget is not None:
                    await self._api.post(f"{path}/extend", {"budget": budget})
                    ui.notify("It goes on with the raised budget.")
                return
            if verb in ("resume", "retry failed"):
                body = {"retry_failed": verb == "retry failed"}
                await self._api.post(f"{path}/resume", body)
            else:
                await self._api.post(f"{path}/{verb}")
            ui.notify(f"{verb.capitalize()}: asked for; it takes effect within seconds.")

        return act
