"""Requests that another site makes a browser send are refused.

A page elsewhere can make the browser of somebody who runs a dashboard on their own machine send
requests there, and a name that its owner points to 127.0.0.1 makes it read the answers, too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from mimlab.serve.errors import answer

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOrigin:
    """Lets through what is addressed to one of our names, and was not sent for another site."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await answer(*refusal)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = HTTPConnection(scope).headers
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 400, (
                f"this dashboard does not answer to the name {host[:100]!r}; start it with "
                "--allow-host NAME if it should"
            )
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        elsewhere = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if elsewhere or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "another site asked for this; only the dashboard's own pages may"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self._names or is_address(name))


def is_address(name: str) -> bool:
    """Whether this is an IP address, which nobody can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
