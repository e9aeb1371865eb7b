"""The pages of the dashboard: NiceGUI, over the REST API of the same application."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import ui

from mimlab.serve.pages import login, queue, submission, submissions, submit, trial
from mimlab.serve.pages.parts.site import Site
from mimlab.serve.settings import Settings


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Let the application, whose routes are there already, serve the pages, too.

    A process has one such application: NiceGUI keeps its pages for all of them.
    """
    site = Site(app, settings)
    for page in (submissions, submission, trial, submit, queue, login):
        page.add(site)
    ui.run_with(app, title="mimlab", dark=None, tailwind=False, show_welcome_message=False)
