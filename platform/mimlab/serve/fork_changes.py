"""In what an edited configuration differs from the trial's that is forked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mimlab.errors import UserError
from mimlab.serve.reading.yaml_text import leaves
from mimlab.spec.overlay import assigned
from mimlab.spec.positions import keys_of, parse
from mimlab.spec.shape import lookup
from mimlab.spec.study import study_model


def changes_of(before: str, after: str) -> list[str]:
    """`path=value` of everything in which a configuration is unlike another, names of parts first.

    Raises UserError for what is no YAML, and for a key that was taken out: a fork sets keys, and
    drops those alone that a part of another name does not have.
    """
    old, new = _mapping(before), _mapping(after)
    had, wanted = dict(leaves(old)), dict(leaves(new))
    names = [path for path in wanted if path.endswith(".name") and _differs(path, had, wanted)]
    for path in names:
        old = assigned(old, keys_of(path), lookup(new, keys_of(path)), study_model())
    kept = dict(leaves(old))
    if gone := sorted(kept.keys() - wanted.keys()):
        raise UserError(f"{gone[0]}: cannot be taken out; set it to another value, or to null")
    others = [path for path, value in wanted.items() if kept.get(path) != value]
    return [f"{path}={wanted[path]}" for path in [*names, *others]]


def without_seed(text: str) -> str:
    """What a study file says of a trial: its seed is one of the sweep's, and a fork keeps it."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("seed:"))


def _differs(path: str, had: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return path in had and had[path] != wanted[path]


def _mapping(text: str) -> Mapping[str, Any]:
    found, _ = parse(text, "configuration")
    if not isinstance(found, Mapping):
        raise UserError("the configuration is no mapping of keys to values")
    return json.loads(json.dumps(found))
