"""In what an edited configuration differs from the trial's that is forked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mimlab.errors import UserError
from mimlab.serve.reading.yaml_text import leaves
from mimlab.spec.positions import parse


def changes_of(before: str, after: str) -> list[str]:
    """`path=value` of everything in which one configuration is unlike another.

    Raises UserError for what is no YAML, and for a key that was taken out: a fork sets keys.
    """
    old, new = (dict(leaves(_mapping(text))) for text in (before, after))
    if gone := sorted(old.keys() - new.keys()):
        raise UserError(f"{gone[0]}: cannot be taken out; set it to another value, or to null")
    return [f"{path}={value}" for path, value in new.items() if old.get(path) != value]


def without_seed(text: str) -> str:
    """What a study file says of a trial: its seed is one of the sweep's, and a fork keeps it."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("seed:"))


def _mapping(text: str) -> Mapping[str, Any]:
    found, _ = parse(text, "configuration")
    if not isinstance(found, Mapping):
        raise UserError("the configuration is no mapping of keys to values")
    return json.loads(json.dumps(found))
