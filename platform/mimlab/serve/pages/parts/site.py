"""What every page is made with, and the API that it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI, Request
from pydantic import TypeAdapter

from mimlab.serve.identity.callers import CSRF_HEADER
from mimlab.serve.identity.sessions import COOKIE
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.routes.session import Identity
from mimlab.serve.security.headers import PREFIX
from mimlab.serve.settings import Settings

ValueT = TypeVar("ValueT")
Params = Mapping[str, str | int | Sequence[str]]

LIMIT_S = 60.0
"""Of an answer of the API, and of a page: a bucket may take its time."""


@dataclass(frozen=True)
class Site:
    """The application that pages belong to."""

    app: FastAPI
    settings: Settings

    def api(self, request: Request) -> Api:
        """The API, asked by whoever sent a request."""
        return Api(self.app, request.cookies.get(COOKIE))


class Api:
    """Asks the application's own REST API, in this process, with a browser's session.

    What has not changed since it was last asked for is not given again.
    """

    def __init__(self, app: FastAPI, cookie: str | None) -> None:
        # Without users the person at this machine is known by coming from it.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 0))
        self._client = httpx.AsyncClient(
            transport=transport,
            base_url=f"http://localhost{PREFIX}",
            cookies={} if cookie is None else {COOKIE: cookie},
            timeout=LIMIT_S,
        )
        self._tags: dict[str, str] = {}
        self._identity: Identity | None = None

    async def identity(self) -> Identity:
        """Who asks. Raises Refused."""
        if self._identity is None:
            self._identity = Identity.model_validate_json(await self._answer("GET", "/session"))
        return self._identity

    async def get(self, path: str, kind: type[ValueT], params: Params | None = None) -> ValueT:
        """What stands at `path`. Raises Refused."""
        data = await self._answer("GET", path, params=params)
        return TypeAdapter(kind).validate_json(data)

    async def found(self, path: str, kind: type[ValueT]) -> ValueT | None:
        """The same; None where there is no such thing. Raises Refused."""
        try:
            return await self.get(path, kind)
        except Refused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def changed(
        self, path: str, kind: type[ValueT], params: Params | None = None
    ) -> ValueT | None:
        """What stands at `path`; None where it is as it was when this was last asked. Raises
        Refused."""
        key = str(httpx.URL(path, params=params))
        known = self._tags.get(key)
        headers = {} if known is None else {"If-None-Match": known}
        response = await self._send("GET", path, params=params, headers=headers)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None
        if (tag := response.headers.get("ETag")) is not None:
            self._tags[key] = tag
        return TypeAdapter(kind).validate_json(response.content)

    async def post(self, path: str, body: Any = None) -> dict[str, Any]:
        """Do something. Raises Refused."""
        return await self._unsafe("POST", path, body)

    async def put(self, path: str, body: Any) -> dict[str, Any]:
        """Set something. Raises Refused."""
        return await self._unsafe("PUT", path, body)

    async def delete(self, path: str) -> dict[str, Any]:
        """Take something away. Raises Refused."""
        return await self._unsafe("DELETE", path, None)

    async def _unsafe(self, method: str, path: str, body: Any) -> dict[str, Any]:
        token = (await self.identity()).csrf_token
        headers = {} if token is None else {CSRF_HEADER: token}
        data = await self._answer(method, path, json=body, headers=headers)
        return TypeAdapter(dict[str, Any]).validate_json(data) if data else {}

    async def _answer(self, method: str, path: str, **how: Any) -> bytes:
        return (await self._send(method, path, **how)).content

    async def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        response = await self._client.request(method, path, **how)
        if response.status_code >= httpx.codes.BAD_REQUEST:
            raise Refused.of(response)
        return response
