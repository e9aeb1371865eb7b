"""Pages are for those who have logged in."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mimlab.serve.errors import ApiError
from mimlab.serve.identity.callers import Callers
from mimlab.serve.security.headers import API

LOGIN = "/login"
_OPEN = (API, LOGIN, "/_nicegui", "/favicon.ico")
"""The API says itself who may what. NiceGUI's own files are no secret, and its channel belongs to a
page that was given out: whoever has none knows of no name to ask for."""


class PageGate:
    """Sends whoever has not logged in to the login page."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(_OPEN):
            try:
                self._callers.of(HTTPConnection(scope))
            except ApiError as error:
                found = error.response() if error.status != 401 else RedirectResponse(LOGIN, 303)
                await found(scope, receive, send)
                return
        await self._app(scope, receive, send)
