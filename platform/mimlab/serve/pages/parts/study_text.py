"""The study as it was submitted."""

from __future__ import annotations

from nicegui import ui

from mimlab.serve.pages.parts.kept import Kept
from mimlab.serve.pages.parts.panel import Panel
from mimlab.serve.pages.parts.site import Api
from mimlab.serve.pages.parts.text import text_of
from mimlab.serve.reading.models import SubmissionDetail


class StudyText(Panel):
    """Its file, and how that was changed on the command line."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._options = ui.label("").classes("muted")
        self._text = Kept(ui.element("div").classes("card"))

    async def show(self, detail: SubmissionDetail) -> None:
        self._options.text = f"changed by: {' '.join(detail.options)}" if detail.options else ""
        lines = detail.study_text.splitlines()
        self._text.show(lines, lambda: text_of(lines, label="The study's YAML"))
