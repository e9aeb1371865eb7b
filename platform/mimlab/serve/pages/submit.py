"""`/submit`: a study is pasted or dropped, checked as one types, planned, billed, submitted."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from nicegui import events, ui

from mimlab.serve.checking import StudyProblem
from mimlab.serve.identity.permissions import may, needed_role
from mimlab.serve.pages.parts.bill import Bill
from mimlab.serve.pages.parts.buttons import done, main_button, once
from mimlab.serve.pages.parts.editor import Editor, problem_words, problems_list
from mimlab.serve.pages.parts.frame import frame, heading, problem, refusal
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.site import LIMIT_S, Api, Site
from mimlab.serve.routes.studies import StudyCheck
from mimlab.spec.positions import MAX_BYTES

BEGINNING = """\
study: ratios
question: Which masking ratio teaches digits best?
data: {images: digits, image_size: 16, augment: {crop_scale: [0.85, 1.0], flip: 0.0}}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 128, depth: 4, num_heads: 4}
objective: {name: mae, decoder_width: 64, decoder_depth: 2, decoder_heads: 4}
target: {name: pixels, norm: patch}
masking: {name: random, ratio: 0.75}
train:
  budget: {epochs: 10}
  batch_size: 128
  optimizer: {base_lr: 3.0e-3}
  warmup_epochs: 1
probes:
  - {name: knn, at: end}
sweep:
  axes:
    masking.ratio: [0.5, 0.75]
  seeds: [0]
"""
_DROP = """
<div class="q-uploader__header-content row items-center no-wrap">
  <label class="q-uploader__title col">
    Drop a study file here, or choose one<q-uploader-add-trigger />
  </label>
  <q-btn flat dense icon="add" aria-label="Choose a study file" @click="props.pickFiles" />
</div>"""


def add(site: Site) -> None:
    """Serve it."""

    @ui.page("/submit", response_timeout=LIMIT_S)
    async def submit(request: Request) -> None:
        api = site.api(request)
        try:
            identity = await api.identity()
        except Refused as refused:
            refusal(request, "Submit", refused)
            return
        with frame(request, "Submit", identity):
            heading(
                "Submit a study", "Paste its YAML, or drop the file; it is checked as you type."
            )
            if not may(identity.role, "submit", own=True):
                problem(f"To submit takes the role {needed_role('submit')}; you are a viewer.")
                return
            form = _Form(api)
            # The first check loads what knows every part, which takes seconds.
            ui.timer(0.1, form.check, once=True)


class _Form:
    """The editor, what is wrong, the plan, and the button that submits."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._upload = ui.upload(
            auto_upload=True,
            max_files=1,
            max_file_size=MAX_BYTES,
            on_upload=self._dropped,
            on_rejected=lambda: ui.notify("A study file is below 1 MB.", type="negative"),
        )
        self._upload.props('accept=".yaml,.yml" flat').add_slot("header", _DROP)
        self._editor = Editor(BEGINNING, self._check, self._show, label="Study")
        with ui.element("div").classes("tools"):
            self._preset = ui.input("Preset, if any", on_change=self.check)
            self._preset.props("dense outlined debounce=400")
        self._said = ui.element("div").props('role="status"')
        with ui.element("div").classes("tools"):
            self._plan = ui.button("Show the plan and its bill", on_click=self._ask_plan)
            self._plan.props("outline no-caps")
            self._submit = main_button("Submit", once(self._ask_submit))
        self._bill = Bill(api)

    async def check(self) -> None:
        """Say what is wrong with the study as it stands."""
        await self._editor.look()

    async def _check(self, text: str) -> StudyCheck:
        try:
            body = await self._api.post("/studies/check", self._body(text))
        except Refused as refused:
            why = StudyProblem(line=None, field=None, message=str(refused))
            return StudyCheck(sound=False, problems=[why])
        return StudyCheck.model_validate(body)

    def _show(self, found: StudyCheck) -> None:
        self._said.clear()
        with self._said:
            problems_list([problem_words(p) for p in found.problems])
            if found.sound:
                ui.label(f"{found.study}: sound, {found.trials} trials").classes("fine")
        self._plan.set_enabled(found.sound)
        self._submit.set_enabled(found.sound)

    def _body(self, text: str) -> dict[str, Any]:
        return {"text": text, "preset": self._preset.value or None, "overrides": []}

    async def _dropped(self, event: events.UploadEventArguments) -> None:
        self._upload.reset()  # it takes no second file beside the first
        try:
            text = (await event.file.read()).decode()
        except UnicodeDecodeError:
            ui.notify(f"{event.file.name} is not text in UTF-8.", type="negative")
            return
        self._editor.set(text)

    async def _ask_plan(self) -> None:
        async def act() -> None:
            await self._bill.make(self._body(self._editor.text))

        await done(act)

    async def _ask_submit(self) -> None:
        async def act() -> None:
            launched = await self._api.post("/submissions", self._body(self._editor.text))
            ui.navigate.to(f"/submissions/{launched['submission']}")

        self._submit.props("loading")
        if await done(act):
            self._submit.disable()  # the submission's own page comes
        else:
            self._submit.props(remove="loading")
