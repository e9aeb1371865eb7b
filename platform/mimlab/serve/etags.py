"""Pages poll: what has not changed is answered by 304 and no body."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mimlab.serve.security.headers import API


class ETags:
    """Tags the answers to the API's GETs by their content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        if not is_get or not scope["path"].startswith(API):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                for each in _tagged(held, Headers(scope=scope).get("if-none-match")):
                    await send(each)

        await self._app(scope, receive, hold)


def _tagged(messages: list[Message], known: str | None) -> list[Message]:
    start, body = messages[0], b"".join(m.get("body", b"") for m in messages[1:])
    if start["status"] != 200:
        return messages
    headers = MutableHeaders(scope=start)
    tag = headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if known is None or tag not in [each.strip() for each in known.split(",")]:
        return [start, {"type": "http.response.body", "body": body}]
    for name in ("content-length", "content-type"):
        del headers[name]
    start["status"] = 304
    return [start, {"type": "http.response.body", "body": b""}]
