"""The audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from mimlab.actions import audit
from mimlab.actions.audit import AuditRecord
from mimlab.serve.errors import documented
from mimlab.serve.identity.callers import Caller
from mimlab.serve.routes.given import Given
from mimlab.serve.services import allowed

router = APIRouter(prefix="/audit", tags=["audit"], responses=documented())


@router.get("", summary="Who did what: the last actions, oldest first")
def get_audit(
    _: Annotated[Caller, Depends(allowed("read the audit log"))],
    given: Given,
    last: Annotated[int, Query(ge=1, le=5000)] = 200,
) -> list[AuditRecord]:
    return audit.read(given.store, last)
