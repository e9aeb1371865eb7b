"""What the API says when it cannot do what was asked: `{"error": {"message": …, "field": …}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mimlab.errors import NotNow, UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.patience import OutOfPatience, trouble_of
from mimlab_objectives.registry import ParamsError

_log = logging.getLogger(__name__)
AWAY_S = 5
"""After how long it makes sense to ask again where the storage was away."""


class Fault(BaseModel):
    """One thing that is wrong."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    message: str = Field(examples=["there is no submission 'ratio-1'"])
    """What is wrong, and what would be right."""
    field: str | None = Field(default=None, examples=["overrides.0"])
    """The part of the request that it is about."""


class ErrorBody(BaseModel):
    """Every answer with a status from 400 on."""

    error: Fault


class ApiError(Exception):
    """A request that is refused, with the status that says why."""

    def __init__(
        self, status: int, message: str, *, field: str | None = None, retry_s: float | None = None
    ) -> None:
        """`retry_s`: after how long it may be tried again."""
        super().__init__(message)
        self.status = status
        self.field = field
        self.retry_s = retry_s

    def response(self) -> JSONResponse:
        headers = {} if self.retry_s is None else {"Retry-After": str(max(1, round(self.retry_s)))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return answer(self.status, str(self), self.field, headers)


def answer(
    status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An answer of the one shape."""
    body = ErrorBody(error=Fault(message=_sendable(message), field=field and _sendable(field)))
    return JSONResponse(body.model_dump(mode="json"), status, headers)


def _sendable(text: str) -> str:
    """Without halves of characters, which a request may hold and UTF-8 may not."""
    return text.encode(errors="replace").decode()


def away_of(error: OSError) -> ApiError | None:
    """What is said of a storage that is full, or away for a while; None for any other error."""
    trouble = trouble_of(error, str(error.filename or "the storage"))
    return None if trouble is None else ApiError(503, trouble.reason, retry_s=AWAY_S)


def add_handlers(app: FastAPI) -> None:
    """Give every refusal of the API the one shape."""
    app.add_exception_handler(ApiError, _of_api)
    app.add_exception_handler(UserError, _of_user)
    app.add_exception_handler(ParamsError, _of_user)
    app.add_exception_handler(NotNow, _of_storage)
    app.add_exception_handler(RemoteError, _of_storage)
    app.add_exception_handler(OutOfPatience, _of_storage)
    app.add_exception_handler(OSError, _of_system)
    app.add_exception_handler(RequestValidationError, _of_request)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_bug)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route's refusals; those of any request included."""
    return {
        status: {"model": ErrorBody, "description": _MEANING[status]}
        for status in sorted({*_ANY, *statuses})
    }


_MEANING = {
    400: "The request could not be read.",
    401: "Nobody is logged in, or the token is not valid.",
    403: "The role does not permit it, or the request came from another site.",
    404: "There is no such thing.",
    413: "The request is too large.",
    422: "The request, or the state of what it is about, does not permit it; the message says why.",
    429: "Too many requests; `Retry-After` says when to try again.",
    503: "The storage or the cluster is away; the same request may succeed later.",
}
_ANY = (400, 401, 403, 413, 422, 429, 503)


def _of_api(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


def _of_user(_: Request, error: Exception) -> JSONResponse:
    return answer(422, str(error))


def _of_storage(_: Request, error: Exception) -> JSONResponse:
    return answer(503, str(error), headers={"Retry-After": str(AWAY_S)})


def _of_system(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    away = away_of(error)
    if away is None:
        raise error  # a bug
    return away.response()


def _of_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems: Sequence[Mapping[str, Any]] = error.errors()
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or None
    more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
    return answer(422, f"{first['msg']}{more}", field)


def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return answer(error.status_code, str(error.detail), headers=error.headers)


def _of_bug(request: Request, error: Exception) -> JSONResponse:
    # Here, for what a page asks for reaches no server that would log it.
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(500, "a bug of mimlab's; its log says more")
