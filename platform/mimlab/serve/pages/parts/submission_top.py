"""The top of a submission's page: where it stands, and what may be done to all of it."""

from __future__ import annotations

from nicegui import ui

from mimlab.serve.pages.parts import words
from mimlab.serve.pages.parts.buttons import ActionButton, ask_budget
from mimlab.serve.pages.parts.permitted import Verb, of_submission
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import SubmissionDetail
from mimlab.serve.routes.queue import QueueView
from mimlab.serve.routes.session import Identity
from mimlab.serve.security.headers import PREFIX

VERBS: tuple[Verb, ...] = ("stop", "pause", "resume", "retry failed", "extend")


class SubmissionTop:
    """Facts and buttons."""

    def __init__(self, api: Api, identity: Identity, *, on_ray: bool) -> None:
        """`on_ray`: whether drivers are jobs of a Ray cluster."""
        self._api, self._identity, self._on_ray = api, identity, on_ray
        self._id = ""
        with ui.element("div").classes("card"):
            self._facts = ui.element("dl").classes("facts")
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
        self._facts.clear()
        with self._facts:
            fact("state", summary.state, css=f"state state-{summary.state}")
            with fact_box("progress"):
                bar(summary.progress, "progress of the submission")
            fact("time left", words.time_left(summary) or "–")
            fact(summary.hours_unit, words.hours(summary))
            if left := words.hours_left(summary):
                fact("left to spend", left)
            fact("trials", words.counted({str(k): v for k, v in summary.trials.items()}))
            fact(
                "driver",
                {True: "lives", False: "none", None: "being watched"}[summary.driver_alive],
            )
            fact("by", f"{summary.user}, {words.day(summary.created)}")
            if place:
                fact("in the queue", place)
            if detail.mlflow_link is not None:
                with fact_box("MLflow"):
                    mlflow_link("its experiment", detail.mlflow_link, detail.mlflow_problem)
            if self._on_ray:
                with fact_box("Ray"):
                    ui.link("its job", job_page(self._id), new_tab=True)
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


def job_page(submission: str) -> str:
    """Where a submission's driver is shown by Ray."""
    return f"{PREFIX}/submissions/{submission}/job"


def fact(name: str, value: str, *, css: str = "") -> None:
    """A name and what it is."""
    with fact_box(name):
        ui.label(value).classes(css)


def fact_box(name: str) -> ui.element:
    with ui.element("div"):
        with ui.element("dt"):
            ui.label(name)
        return ui.element("dd")


def bar(progress: float, label: str) -> None:
    """A progress bar with its number."""
    with ui.element("span").classes("bar") as shown:
        shown.props(
            f'role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{int(100 * progress)}" aria-label="{label}"'
        )
        ui.element("div").style(f"width: {100 * progress:.1f}%")
    ui.label(words.percent(progress)).style("display: inline")


def mlflow_link(text: str, address: str, problem: str) -> None:
    """Leads to MLflow, and says where that is away."""
    ui.link(text, address, new_tab=True)
    if problem:
        ui.label(f"{problem}; what it shows is kept, and sent when it is back").classes("warning")
