"""The labels of WebDataset samples: numbers, names, or numbers that have names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from mimlab.data.pieces import MAX_LABEL
from mimlab.errors import UserError

JSON_KEYS = ("label", "class")


class Label(NamedTuple):
    """What a sample says of its class; both are null where it says nothing."""

    number: int | None = None
    name: str | None = None


def label_of(contents: Mapping[str, bytes], where: str) -> Label:
    """The label in the `cls` and `json` of a sample; `cls` goes first. Raises UserError.

    `where` is the sample's name without extension, for people.
    """
    label = Label()
    if "json" in contents:
        label = _of_json(contents["json"], f"{where}.json")
    if "cls" in contents:
        label = Label(_of_cls(contents["cls"], f"{where}.cls"), label.name)
    return label


def _of_cls(content: bytes, where: str) -> int | None:
    try:
        return _number(int(content), where)
    except ValueError as error:
        shown = content[:40].decode("utf-8", "replace")
        raise UserError(f"{where}: {shown!r}; expected a class number as text") from error


def _of_json(content: bytes, where: str) -> Label:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    label = Label()
    if not isinstance(found, dict):
        return label
    for key in JSON_KEYS:
        value = found.get(key)
        if isinstance(value, str) and value:
            label = Label(label.number, label.name or value)
        elif isinstance(value, int) and not isinstance(value, bool):
            if label.number is None:
                label = Label(_number(value, f"{where}: {key!r}"), label.name)
        elif value is not None:
            raise UserError(
                f"{where}: {key!r} is {json.dumps(value)[:40]}; expected a class number or name"
            )
    return label


def _number(number: int, where: str) -> int | None:
    if number > MAX_LABEL:
        raise UserError(f"{where}: {number} is no class number")
    # −1 marks what has no label, as in other sources.
    return number if number >= 0 else None


def class_names(found: Mapping[Label, str], stated: list[str]) -> list[str]:
    """The names of all classes by number; empty if nothing is named. Raises UserError.

    `found` are all labels of a source with a sample that has each; `stated` are names that the
    source gives apart from its samples. Names without any number are numbered in sorted order.
    """
    names = dict(enumerate(stated))
    for label, where in found.items():
        if label.number is None or label.name is None:
            continue
        if names.setdefault(label.number, label.name) != label.name:
            raise UserError(
                f"{where}: class {label.number} is called {label.name!r}, elsewhere "
                f"{names[label.number]!r}"
            )
    _refuse_repeated(names)
    bare = {label.name: where for label, where in found.items() if label.number is None}
    bare.pop(None, None)
    numbers = [label.number for label in found if label.number is not None]
    if not names and not numbers:
        return sorted(name for name in bare if name)
    for name, where in bare.items():
        if name not in names.values():
            raise UserError(
                f"{where}: class {name!r} has no number, while other samples are labelled by "
                "numbers; give every sample a number, or name the classes in classes.txt"
            )
    if not names:
        return []
    if stated and max(numbers, default=0) >= len(stated):
        return stated  # the import tells which label is beyond them
    return [names.get(number, str(number)) for number in range(max([*numbers, *names]) + 1)]


def _refuse_repeated(names: Mapping[int, str]) -> None:
    number_of: dict[str, int] = {}
    for number, name in names.items():
        if number_of.setdefault(name, number) != number:
            raise UserError(f"classes {number_of[name]} and {number} are both called {name!r}")
