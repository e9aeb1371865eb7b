"""A study's plan and what it will take, measured in the background."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from mimlab.cli.bars import duration
from mimlab.search.bill import Bill as BillRecord
from mimlab.search.bill import gib
from mimlab.search.costs import Range
from mimlab.search.hours_text import hours_text
from mimlab.search.preview import Preview
from mimlab.serve.pages.parts.facts import Fact, Facts
from mimlab.serve.pages.parts.frame import problem, section
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.plans import PlanResult

LOOK_S = 1.0
MOST_TRIALS = 60


class Bill:
    """Asks for a plan and shows it when it has been made."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asked = 0
        self._box = ui.element("div").props('role="status"')

    async def make(self, study: dict[str, Any]) -> None:
        """Make another one; an earlier one is forgotten. Raises Refused."""
        self._asked += 1
        mine = self._asked
        self._box.clear()
        with self._box, ui.row():
            ui.spinner()
            ui.label("Some steps of each shape are run to measure it; that takes a minute or so.")
        try:
            plan = PlanResult.model_validate(await self._api.post("/studies/plans", study))
            while plan.state in ("waiting", "running") and mine == self._asked:
                await asyncio.sleep(LOOK_S)
                plan = await self._api.get(f"/studies/plans/{plan.id}", PlanResult)
        finally:
            if mine == self._asked:
                self._box.clear()
        if mine != self._asked:
            return
        with self._box:
            if plan.plan is None:
                problem(plan.error or "the plan could not be made")
            else:
                _show(plan.plan)


def _show(plan: Preview) -> None:
    section("The plan")
    ui.label(
        f"{plan.num_trials} trials, {plan.to_run} of them to run"
        + (f", {plan.concurrent} at once; " if plan.concurrent else "; ")
        + f"{plan.images:,} images"
    )
    if plan.equal:
        ui.label(plan.equal).classes("muted")
    if plan.bill is not None:
        section("The bill")
        _bill(plan.bill)
    for warning in plan.warnings:
        ui.label(warning).classes("warning")
    rows = [
        {
            "id": trial.id,
            "point": ", ".join(f"{path}={value}" for path, value in trial.point.items()),
            "seed": trial.seed,
            "hidden": f"{trial.hidden_patches} of {trial.patches}",
            "steps": f"{trial.steps:,}",
            "state": trial.state,
        }
        for trial in plan.trials[:MOST_TRIALS]
    ]
    labels = {"id": "trial", "hidden": "hidden of patches"}
    columns = [
        {"name": name, "label": labels.get(name, name), "field": name, "align": "left"}
        for name in ("id", "point", "seed", "hidden", "steps", "state")
    ]
    ui.table(rows=rows, columns=columns, pagination=20).props('flat dense aria-label="Its trials"')


def _bill(bill: BillRecord) -> None:
    facts = [
        Fact.words("wall time", _times(bill.wall_s)),
        Fact.words(bill.unit, _hours(bill.hours)),
    ]
    if bill.limit_hours is not None:
        facts.append(Fact.words(bill.limit_field, f"{bill.limit_hours:,g}"))
    free = "" if bill.free_bytes is None else f" of {gib(bill.free_bytes)} free"
    facts += [
        Fact.words("steps", f"{bill.steps:,}"),
        Fact.words("storage", f"{gib(bill.storage_bytes)}{free}"),
    ]
    for shape in bill.shapes:
        took = f"{1e3 * shape.measured.step_s:,.1f} ms, {shape.images_per_s:,.0f} images/s"
        facts.append(Fact.words(f"a step of {shape.label}", took))
    with ui.element("div").classes("card"):
        Facts().show(facts)


def _times(found: Range) -> str:
    low, high = duration(found.low), duration(found.high)
    return high if low == high else f"{low} to {high}"


def _hours(found: Range) -> str:
    low, high = hours_text(found.low), hours_text(found.high)
    return high if low == high else f"{low} to {high}"
