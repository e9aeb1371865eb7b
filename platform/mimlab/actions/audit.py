"""The audit log: who did what to what, an immutable object a line, so that buckets hold it too."""

from __future__ import annotations

import time
import uuid
from typing import Any

from pydantic import ValidationError

from mimlab.storage.folders import now
from mimlab.storage.records import Record
from mimlab.storage.store import Store

FOLDER = "audit"


class AuditRecord(Record):
    """One action."""

    time: str
    """ISO 8601, UTC."""
    who: str
    what: str
    """`submit`, `stop`, `pause`, `resume`, `fork`, `extend`, …"""
    on: str
    """Id of the submission or trial."""
    details: dict[str, Any]


def record(
    store: Store, who: str, what: str, on: str, details: dict[str, Any] | None = None
) -> None:
    """Add one action; nothing that was recorded is ever written again."""
    line = AuditRecord(time=now(), who=who, what=what, on=on, details=details or {})
    while not store.create(f"{FOLDER}/{_name()}", line.to_bytes()):
        continue


def read(store: Store, last: int | None = None) -> list[AuditRecord]:
    """The actions, oldest first; only the `last` ones where that is given. What is not readable,
    e.g. of a later version, is left out."""
    names = store.list(FOLDER)
    found: list[AuditRecord] = []
    for name in names if last is None else names[max(0, len(names) - last) :]:
        try:
            found.append(AuditRecord.model_validate_json(store.read(f"{FOLDER}/{name}")))
        except (FileNotFoundError, ValidationError):
            continue
    return found


def _name() -> str:
    """Sorts by time as this machine has it; two machines never meet."""
    return f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
