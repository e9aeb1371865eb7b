"""A request's body is read up to a limit, before anything looks at it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mimlab.serve.errors import answer

MAX_BODY_BYTES = 2_000_000
"""A study of a megabyte, written out in JSON."""


class BodyLimit:
    """Answers 413 to more than `MAX_BODY_BYTES`, announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(scope, receive)
        if body is None:
            refusal = answer(413, f"a request has at most {MAX_BODY_BYTES:,} bytes")
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)
            return
        unread = [_whole(body)]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The body; None if it is too large."""
    announced = Headers(scope=scope).get("content-length", "0")
    if announced.isascii() and announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(body)


def _whole(body: bytes) -> Message:
    return {"type": "http.request", "body": body, "more_body": False}
