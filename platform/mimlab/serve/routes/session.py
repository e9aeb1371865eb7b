"""Who one is, and a browser's login."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from mimlab.serve.errors import documented
from mimlab.serve.identity.callers import Caller
from mimlab.serve.identity.permissions import PERMISSIONS, Action, Reach, Role
from mimlab.serve.identity.sessions import COOKIE, LASTS_S
from mimlab.serve.routes.given import Body, Given
from mimlab.serve.services import Services, caller

router = APIRouter(prefix="/session", tags=["session"], responses=documented())


class Identity(BaseModel):
    """Who one is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    role: Role
    permissions: dict[Action, Reach]
    """What the role may do: to nobody's runs, to one's own, to all."""
    local: bool
    """Whether the dashboard has no users: whoever sits at its machine is an operator."""
    csrf_token: str | None
    """A browser sends it with everything but GET, in the header `X-CSRF-Token`; None elsewhere."""


class Login(Body):
    """What one logs in with."""

    token: str = Field(min_length=1, max_length=200)
    """From `mimlab user add`."""


@router.get("", summary="Who one is, and what one may do")
def own_identity(found: Annotated[Caller, Depends(caller)], given: Given) -> Identity:
    return _identity(found, given)


@router.post("", summary="Log a browser in: sets a cookie")
def log_in(login: Login, request: Request, response: Response, given: Given) -> Identity:
    user = given.callers.login(login.token, request)
    cookie = given.sessions.begin(user)
    read = given.sessions.read(cookie)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(LASTS_S),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return _identity(Caller(user.name, user.role, read and read[0]), given)


@router.delete("", status_code=204, summary="Log a browser out: takes the cookie away")
def log_out(_: Annotated[Caller, Depends(caller)], response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def _identity(found: Caller, given: Services) -> Identity:
    csrf = None if found.session is None else given.sessions.csrf_token(found.session)
    return Identity(
        name=found.name,
        role=found.role,
        permissions={action: reaches[found.role] for action, reaches in PERMISSIONS.items()},
        local=found.local,
        csrf_token=csrf,
    )
