"""The pages of the dashboard: NiceGUI, over the REST API of the same application."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import ui

from mimlab.serve.pages import login, queue, submission, submissions, submit, trial
from mimlab.serve.pages.parts.site import Site
from mimlab.serve.settings import Settings

RECONNECT_S = 30.0
"""For a browser whose connection broke, or whose server was busy: after that it loads the page
anew, and whoever reads it loses their place."""


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Let the application, whose routes are there already, serve the pages, too.

    A process has one such application: NiceGUI keeps its pages for all of them.
    """
    site = Site(app, settings)
    for page in (submissions, submission, trial, submit, queue, login):
        page.add(site)
    ui.run_with(
        app,
        title="mimlab",
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
    )
