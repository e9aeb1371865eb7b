"""Which trial is which: a hash of everything that changes its results, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from mimlab.spec.resolve import sha256_of
from mimlab.spec.section import NotIdentity
from mimlab.spec.study import REGISTRIES, TrialSpec

SCHEMA_VERSION = 1
"""Raised when a key means something else than before, so that old trials are not taken for new."""

_ID_LENGTH = 12
_SIDECARS = "data.sidecars."


START = "start."
"""Begins the keys that say which checkpoint a fork starts from."""


def identity(
    spec: TrialSpec,
    data_fingerprint: str,
    sidecars: Mapping[str, str] | None = None,
    start: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, str]]:
    """A trial's id, and the flat keys that it is the hash of.

    The budget counts, because the cosine schedule depends on it. Instead of the folder of the
    images, the fingerprint of what is in it counts, and so it is with `sidecars`, by their names;
    each registered part says what of it counts (`Params.identified`), and adds its revision. A
    value of null is left out. `start`: what a fork starts from, by names of its own.
    """
    parts = {section: getattr(spec, section).identified() for section in REGISTRIES}
    flat = dict(_flat(spec.model_copy(update=parts), ""))
    del flat["data.images"]
    flat["data.fingerprint"] = data_fingerprint
    flat |= {f"{_SIDECARS}{name}": fingerprint for name, fingerprint in (sidecars or {}).items()}
    flat |= {f"{START}{name}": value for name, value in (start or {}).items()}
    flat["schema"] = str(SCHEMA_VERSION)
    for section, registry in REGISTRIES.items():
        flat[f"revision.{section}"] = str(registry[getattr(spec, section).name].revision)
    flat = dict(sorted(flat.items()))
    return sha256_of(flat)[:_ID_LENGTH], flat


def identity_on(spec: TrialSpec, flat: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The same of another configuration, on the data and sidecars that flat keys tell of, from
    the checkpoint that they name if they do."""
    return identity(spec, flat["data.fingerprint"], _below(_SIDECARS, flat), _below(START, flat))


def _below(prefix: str, flat: Mapping[str, str]) -> dict[str, str]:
    return {k.removeprefix(prefix): value for k, value in flat.items() if k.startswith(prefix)}


def _flat(model: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None or any(isinstance(mark, NotIdentity) for mark in field.metadata):
            continue
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
