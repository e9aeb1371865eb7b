"""What stands around every page: navigation, who one is, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import Request
from nicegui import ui
from nicegui.events import GenericEventArguments

from mimlab.serve.identity.callers import CSRF_HEADER
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.routes.session import Identity
from mimlab.serve.security.headers import PREFIX

STYLE = Path(__file__).with_name("style.css").read_text()
LOOK = "mimlab_look"
"""Cookie of a browser that does not want to follow its system: `light` or `dark`."""
LOOKS = {"light": False, "dark": True}

_LINKS = (("Submissions", "/"), ("Submit", "/submit"), ("Queue", "/queue"))


@contextmanager
def frame(request: Request, title: str, identity: Identity | None) -> Iterator[None]:
    """The page's content goes inside. `identity`: None on the login page."""
    ui.add_css(STYLE)
    ui.page_title(f"{title} · mimlab")
    ui.colors(primary="#1f5a91")
    dark = ui.dark_mode(LOOKS.get(request.cookies.get(LOOK, "")))
    with ui.header().classes("top"), ui.element("nav").props('aria-label="Main"'):
        ui.link("mimlab", "/").classes("brand")
        if identity is not None:
            for name, target in _LINKS:
                link = ui.link(name, target)
                if request.url.path == target:
                    link.props('aria-current="page"')
        ui.space()
        if identity is not None:
            who = "this machine" if identity.local else identity.role
            ui.label(f"{identity.name} · {who}").classes("who")
        _look_button(dark)
        if identity is not None and identity.csrf_token is not None:
            _logout(identity.csrf_token)
    with ui.element("div").classes("page") as content:  # in NiceGUI's own `main`
        content.props('tabindex="-1"')
        yield
    ui.skip_link("Skip to the content", target=content)


_TURN = f"""() => {{
  const now = document.cookie.match(/(?:^|; ){LOOK}=(\\w+)/)?.[1];
  const next = {{dark: "light", light: ""}}[now] ?? "dark";
  const age = next ? 31536000 : 0;
  document.cookie = `{LOOK}=${{next}}; path=/; max-age=${{age}}; samesite=strict`;
  emit(next);
}}"""
"""The browser keeps the look before anybody sees it: whoever leaves at once finds it again."""


def _look_button(dark: ui.dark_mode) -> None:
    def turn(to: GenericEventArguments) -> None:
        dark.value = LOOKS.get(str(to.args))
        say()

    def say() -> None:
        now = {None: "as the system", True: "dark", False: "light"}[dark.value]
        icon = {None: "brightness_auto", True: "dark_mode", False: "light_mode"}[dark.value]
        button.props(f'icon={icon} aria-label="Colours: {now}; press to change"')

    button = ui.button().props("flat round dense").on("click", turn, js_handler=_TURN)
    say()


def _logout(csrf_token: str) -> None:
    script = (
        f"await fetch('{PREFIX}/session', {{method: 'DELETE', "
        f"headers: {{'{CSRF_HEADER}': '{csrf_token}'}}}}); location = '/login'"
    )
    ui.button("Log out", on_click=lambda: ui.run_javascript(script)).props("flat dense no-caps")


def say_refused(refused: Refused) -> None:
    """Tell why something was not done."""
    ui.notify(str(refused), type="negative", multi_line=True, close_button="Close", timeout=0)


def problem(message: str) -> None:
    """Where a part of the page should be and cannot."""
    ui.label(message).classes("problem").props('role="alert"')


def refusal(request: Request, title: str, reason: Exception) -> None:
    """The whole page, where what it is about may not be seen or cannot be read."""
    with frame(request, title, None):
        problem(str(reason))
        if request.url.path != "/":
            ui.link("All submissions", "/")


def nothing(title: str, words: str) -> None:
    """Where there is nothing yet: what to do."""
    with ui.element("div").classes("nothing"):
        ui.label(title).classes("nothing-title")
        ui.label(words)


def heading(text: str, under: str = "") -> None:
    """The page's title."""
    with ui.element("h1"):
        ui.label(text)
    if under:
        ui.label(under).classes("question")


def section(text: str) -> None:
    """A title within the page."""
    with ui.element("h2"):
        ui.label(text)
