"""The dialog of a fork: the trial's configuration to be edited, checked as one types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui
from pydantic import BaseModel, ConfigDict

from mimlab.errors import UserError
from mimlab.serve.pages.parts.buttons import main_button
from mimlab.serve.pages.parts.editor import Editor, problem_words, problems_list
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import TrialDetail
from mimlab.serve.reading.yaml_text import leaves
from mimlab.serve.routes.studies import StudyCheck
from mimlab.spec.positions import parse

_HEADER = "study: fork\n"


class Fork(BaseModel):
    """What the API is asked for."""

    model_config = ConfigDict(frozen=True)

    changes: list[str]
    step: int


def changes_of(before: str, after: str) -> list[str]:
    """`path=value` of everything in which one configuration is unlike another.

    Raises UserError for what is no YAML, and for a key that was taken out: a fork sets keys.
    """
    old, new = (dict(leaves(_mapping(text))) for text in (before, after))
    if gone := sorted(old.keys() - new.keys()):
        raise UserError(f"{gone[0]}: cannot be taken out; set it to another value, or to null")
    return [f"{path}={value}" for path, value in new.items() if old.get(path) != value]


def _mapping(text: str) -> Mapping[str, Any]:
    found, _ = parse(text, "configuration")
    if not isinstance(found, Mapping):
        raise UserError("the configuration is no mapping of keys to values")
    return json.loads(json.dumps(found))


def _without_seed(text: str) -> str:
    """What a study file says of a trial: its seed is one of the sweep's, and a fork keeps it."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("seed:"))


async def ask_fork(api: Api, detail: TrialDetail) -> Fork | None:
    """What to change and where to begin; None where one thinks better of it."""
    before = _without_seed(detail.resolved_text)
    steps = {c.step: f"step {c.step:,} (epoch {c.epoch:.1f})" for c in detail.checkpoints}
    unfinished = [number for number in steps if number < detail.summary.total_steps]
    first = max(unfinished or steps)
    changes: list[str] = []
    with ui.dialog().props("maximized") as dialog, ui.card().classes("page"):
        ui.label(f"Fork {detail.summary.label}").style("font-size: 18px; font-weight: 650")
        ui.label("Change what shall be otherwise; everything else stays.").classes("muted")
        step = ui.select(steps, value=first, label="Begins at").props("dense outlined")

        async def check(text: str) -> tuple[list[str], list[str]]:
            """The changes, and what is wrong with them."""
            try:
                found = changes_of(before, text)
                body = {"text": _HEADER + text, "preset": None, "overrides": []}
                result = StudyCheck.model_validate(await api.post("/studies/check", body))
            except (UserError, Refused) as error:
                return [], [str(error)]
            return found, [problem_words(p, above=1) for p in result.problems]

        def show(checked: tuple[list[str], list[str]]) -> None:
            changes[:], problems = checked
            said.clear()
            with said:
                problems_list(problems)
                if not problems:
                    words = ", ".join(changes) or "nothing yet"
                    ui.label(f"changes: {words}").classes("fine" if changes else "muted")
            go.set_enabled(bool(changes) and not problems)

        Editor(before, check, show, label="Configuration of the fork")
        said = ui.element("div").props('role="status"')
        with ui.row():
            go = main_button("Fork", lambda: dialog.submit(True))
            ui.button("Leave it", on_click=lambda: dialog.submit(False)).props("flat no-caps")
        go.set_enabled(False)
    if not await dialog:
        return None
    return Fork(changes=list(changes), step=int(step.value or first))
