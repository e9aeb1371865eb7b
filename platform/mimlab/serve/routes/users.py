"""The users; they are made and changed by `mimlab user`, at the machine that has the storage."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from mimlab.serve.errors import documented
from mimlab.serve.identity.callers import Caller
from mimlab.serve.identity.permissions import Role
from mimlab.serve.routes.given import Given
from mimlab.serve.services import allowed

router = APIRouter(prefix="/users", tags=["users"], responses=documented())


class UserView(BaseModel):
    """A user, without what the token is known by."""

    name: str
    role: Role
    created: str
    revoked: bool


@router.get("", summary="All users")
def list_users(
    _: Annotated[Caller, Depends(allowed("list users"))], given: Given
) -> list[UserView]:
    shown = set(UserView.model_fields)
    return [UserView(**user.model_dump(include=shown)) for user in given.users.all()]
