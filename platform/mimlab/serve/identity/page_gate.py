"""Pages are for those who have logged in."""

from __future__ import annotations

import anyio
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mimlab.errors import NotNow, UserError
from mimlab.serve.errors import AWAY_S, ApiError
from mimlab.serve.identity.callers import Callers
from mimlab.serve.security.headers import API
from mimlab.storage.filesystems import RemoteError

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
            # Users are in the storage, and whoever waits for that here holds up every page.
            refusal = await anyio.to_thread.run_sync(self._refusal, HTTPConnection(scope))
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        """What is answered instead of a page; None for whoever may see pages."""
        try:
            self._callers.of(connection)
        except ApiError as error:
            return error.response() if error.status != 401 else RedirectResponse(LOGIN, 303)
        except (NotNow, RemoteError, UserError) as error:
            return PlainTextResponse(str(error), 503, {"Retry-After": str(AWAY_S)})
        return None
