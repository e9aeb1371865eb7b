"""A pasted study is looked over before it is parsed: YAML is data, and not much of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    ScalarEvent,
)

from mimlab.errors import UserError
from mimlab.spec.positions import MAX_BYTES, MAX_DEPTH, MAX_VALUES

FILE = "study.yaml"
"""What a pasted study is called in messages."""
MAX_ALIASES = 100
MAX_OVERRIDES = 100


def check_pasted(text: str, overrides: Sequence[str] = ()) -> None:
    """Raises UserError, naming the line, for what a study never needs.

    Parsing stops at the first limit: a bomb costs no more than a large study. Text that is not YAML
    passes, for the loader says better what is wrong with it.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise UserError(f"{FILE}: has more than {MAX_BYTES:,} bytes, the most that a study has")
    _check_events(text, FILE)
    if len(overrides) > MAX_OVERRIDES:
        raise UserError(f"overrides: more than {MAX_OVERRIDES}; change the study itself")
    for override in overrides:
        if len(override) > MAX_BYTES // 100:
            raise UserError("overrides: one is too long; change the study itself")
        _check_events(override.partition("=")[2], f"--set {override[:60]}")


def _check_events(text: str, place: str) -> None:
    depth = values = aliases = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, CollectionEndEvent):
                depth -= 1
            depth += isinstance(event, CollectionStartEvent)
            aliases += isinstance(event, AliasEvent)
            values += isinstance(event, (AliasEvent, ScalarEvent, CollectionStartEvent))
            if _tag(event) is not None:
                raise _refused(event, place, f"the tag {_tag(event)} is not allowed: YAML is data")
            if aliases > MAX_ALIASES:
                raise _refused(event, place, f"has more than {MAX_ALIASES} aliases")
            if depth > MAX_DEPTH:
                raise _refused(event, place, f"is nested more than {MAX_DEPTH} levels deep")
            if values > 2 * MAX_VALUES:  # a key is an event, too
                raise _refused(event, place, f"holds more than {MAX_VALUES:,} values")
    except YAMLError:
        return


def _tag(event: Event) -> str | None:
    tag: Any = getattr(event, "tag", None)
    return None if tag is None else str(tag)


def _refused(event: Event, place: str, message: str) -> UserError:
    mark: Any = event.start_mark
    return UserError(f"{place}:{mark.line + 1}: {message}")
