"""Records that tell whether a bit of them has changed: JSON with a hash of all the rest."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import ValidationError

from mimlab.storage.records import Record

RecordT = TypeVar("RecordT", bound=Record)

SEAL = "seal"
"""The key that holds the hash."""


def sealed(record: Record) -> bytes:
    """The record's file."""
    content = record.model_dump(mode="json")
    return json.dumps(content | {SEAL: _hash(content)}, indent=1).encode() + b"\n"


class OtherVersion(Exception):
    """An unchanged record that this version of mimlab does not know: it is not damaged."""


def unsealed(data: bytes, kind: type[RecordT]) -> RecordT:
    """The record in a file. Raises ValueError if it is not what was sealed, OtherVersion if it is
    and means nothing here.

    A file that has no seal, as earlier versions wrote it, is taken as it is; one flipped bit cannot
    make such a file of a sealed one, because a record refuses keys that it does not know.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError(f"not a {kind.__name__}")
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _hash(content):
        raise ValueError(f"{kind.__name__}: its content has changed")
    try:
        return kind.model_validate_json(json.dumps(content))
    except ValidationError as error:
        if seal is None:
            raise
        told = error.errors()[0]
        raise OtherVersion(f"{'.'.join(map(str, told['loc']))}: {told['msg']}") from error


def _hash(content: dict[str, Any]) -> str:
    """Of the content itself, not of the record: defaults of later versions do not change it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
