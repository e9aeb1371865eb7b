"""The dialog of a fork: the trial's configuration to be edited, checked as one types."""

from __future__ import annotations

from nicegui import ui
from pydantic import BaseModel, ConfigDict

from mimlab.serve.fork_changes import without_seed
from mimlab.serve.pages.parts.buttons import main_button, once
from mimlab.serve.pages.parts.editor import Editor, problem_words, problems_list
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import TrialDetail
from mimlab.serve.routes.trials import ForkCheck


class Fork(BaseModel):
    """What the API is asked for."""

    model_config = ConfigDict(frozen=True)

    changes: list[str]
    step: int


async def ask_fork(api: Api, detail: TrialDetail) -> Fork | None:
    """What to change and where to begin; None where one thinks better of it."""
    before = without_seed(detail.resolved_text)
    steps = {c.step: f"step {c.step:,} (epoch {c.epoch:.1f})" for c in detail.checkpoints}
    unfinished = [number for number in steps if number < detail.summary.total_steps]
    first = max(unfinished or steps)
    whole = ui.dialog().props('maximized aria-label="Fork"')
    with whole as dialog, ui.card().classes("page"):
        ui.label(f"Fork {detail.summary.label}").style("font-size: 18px; font-weight: 650")
        ui.label("Change what shall be otherwise; everything else stays.").classes("muted")
        step = ui.select(steps, value=first, label="Begins at").props("dense outlined")

        async def check(text: str) -> tuple[list[str], list[str]]:
            """The changes, and what is wrong with them."""
            try:
                path = f"/submissions/{detail.submission}/trials/{detail.summary.id}/fork/check"
                result = ForkCheck.model_validate(await api.post(path, {"text": text}))
            except Refused as error:
                return [], [str(error)]
            return result.changes, [problem_words(p) for p in result.problems]

        def show(checked: tuple[list[str], list[str]]) -> None:
            changes, problems = checked
            said.clear()
            with said:
                problems_list(problems)
                if not problems:
                    words = ", ".join(changes) or "nothing yet"
                    ui.label(f"changes: {words}").classes("fine" if changes else "muted")
            go.set_enabled(_may_go(checked))

        async def press() -> None:
            """What was typed last counts, whether or not it has been checked yet."""
            go.props("loading")
            try:
                checked = await editor.look()
            finally:
                go.props(remove="loading")
            if checked is not None and _may_go(checked):
                dialog.submit(checked[0])

        editor = Editor(before, check, show, label="Configuration of the fork")
        said = ui.element("div").props('role="status"')
        with ui.row():
            go = main_button("Fork", once(press))
            ui.button("Leave it", on_click=lambda: dialog.submit(None)).props("flat no-caps")
        go.set_enabled(False)
    changes = await dialog
    return Fork(changes=changes, step=int(step.value or first)) if changes else None


def _may_go(checked: tuple[list[str], list[str]]) -> bool:
    """Whether something is changed, and nothing is wrong with it."""
    changes, problems = checked
    return bool(changes) and not problems
