"""YAML that remembers where everything stood, so that an error can name a line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mimlab.errors import UserError

Keys = tuple[str | int, ...]
"""A place in a study: mapping keys and list indices from the root."""

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
MAX_DEPTH = 40
"""Limits of one file, aliases written out: a study is far below, an alias bomb far above."""

_SCALARS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")
)
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Source:
    """Where each value was written: `study.yaml:12` or `--set train.batch_size=64`."""

    file: str
    places: Mapping[Keys, str]

    def where(self, keys: Keys) -> str:
        """The place of a value, or of the nearest section around it."""
        while keys not in self.places and keys:
            keys = keys[:-1]
        return self.places.get(keys, self.file)

    def knows(self, keys: Keys) -> bool:
        """Whether a value was written, or the name of the part that it is a parameter of."""
        return keys in self.places or (*keys[:-1], "name") in self.places

    def moved(self, start: Keys, to: Keys) -> Source:
        """What stands below `start` is also the origin of what stands below `to`."""
        below = {
            to + keys[len(start) :]: place
            for keys, place in self.places.items()
            if keys[: len(start)] == start and keys != start
        }
        return Source(self.file, {**self.places, **below})

    def beneath(self, values: Mapping[str, Any], place: str) -> Source:
        """What no place is known of was written at `place`, if it is one of `values`."""
        new = {keys: place for keys in _places_in(values, ()) if keys not in self.places}
        return Source(self.file, {**new, **self.places})

    def with_place(self, keys: Keys, place: str) -> Source:
        """The value at `keys`, and all below it, was written at `place`."""
        others = {k: p for k, p in self.places.items() if k[: len(keys)] != keys}
        return Source(self.file, {**others, keys: place})


def _places_in(values: Mapping[str, Any], at: Keys) -> Iterator[Keys]:
    for key, value in values.items():
        yield (*at, key)
        if isinstance(value, Mapping):
            yield from _places_in(value, (*at, key))


def dotted(keys: Keys) -> str:
    """`("probes", 0, "k")` → `probes.0.k`."""
    return ".".join(str(key) for key in keys)


def keys_of(path: str) -> Keys:
    """`probes.0.k` → `("probes", 0, "k")`."""
    return tuple(int(part) if part.isdecimal() else part for part in path.split("."))


def read_study_file(path: Path) -> tuple[str, dict[str, Any], Source]:
    """Text, content and places of a study file.

    Raises UserError, naming file and line, for anything that is not one YAML mapping.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    _refuse_large(data, str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text") from error
    return text, *read_study_text(text, str(path))


def read_study_text(text: str, path: str) -> tuple[dict[str, Any], Source]:
    """Content and places of a study file of this text, called `path`. Raises UserError."""
    _refuse_large(text.encode(errors="replace"), path)
    root, source = parse(text, path)
    if not isinstance(root, dict):
        found = "nothing" if root is None else f"a {type(root).__name__}"
        raise UserError(
            f"{path}:1: a study is a mapping with `study:`, `data:`, …; the file holds {found}"
        )
    return root, source


def _refuse_large(data: bytes, path: str) -> None:
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: has {len(data)} bytes; a study has at most {MAX_BYTES}")


def parse(text: str, file: str) -> tuple[Any, Source]:
    """Plain Python values of one YAML document, and their places. Raises UserError."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        if node is None:
            return None, Source(file, {})
        reader = _Reader(file, yaml)
        return reader.value(node, ()), Source(file, reader.places)
    except YAMLError as error:
        raise UserError(_syntax_message(error, text, file)) from error
    except RecursionError as error:
        raise UserError(f"{file}: is nested more than {MAX_DEPTH} levels deep") from error


def _syntax_message(error: YAMLError, text: str, file: str) -> str:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f"{file}: is not YAML: {str(error).splitlines()[0]}"
    number = error.problem_mark.line
    lines = text.splitlines()
    line = lines[number] if number < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{file}:{number + 1}: starts with a tab; YAML is indented with spaces"
    context = f" {error.context}" if error.context else ""
    return f"{file}:{number + 1}: is not YAML: {error.problem}{context}"


class _Reader:
    """Turns nodes into values, one document long."""

    def __init__(self, file: str, yaml: YAML) -> None:
        self.places: dict[Keys, str] = {}
        self._file = file
        self._yaml = yaml
        self._count = 0

    def value(self, node: Node, keys: Keys) -> Any:
        self._count += 1
        self.places.setdefault(keys, self._at(node))
        if self._count > MAX_VALUES:
            raise self._refused(node, f"holds more than {MAX_VALUES} values, aliases written out")
        if len(keys) > MAX_DEPTH:
            raise self._refused(node, f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*keys, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, keys)

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged = self._merged(value_node, keys) | merged
                continue
            key = self._key(key_node)
            if key in result:
                raise self._refused(
                    key_node, f"{dotted((*keys, key))}: is written twice; keep one of them"
                )
            if key in merged:  # this one replaces it, and its places
                self._forget((*keys, key))
            self.places[(*keys, key)] = self._at(key_node)
            result[key] = self.value(value_node, (*keys, key))
        return {**merged, **result}

    def _forget(self, keys: Keys) -> None:
        for below in [place for place in self.places if place[: len(keys)] == keys]:
            del self.places[below]

    def _merged(self, node: Node, keys: Keys) -> dict[str, Any]:
        """The mapping, or mappings, of a `<<` key; the first of several wins."""
        parts = node.value if isinstance(node, SequenceNode) else [node]
        values = [self.value(part, keys) for part in parts]
        if not all(isinstance(value, dict) for value in values):
            raise self._refused(node, "`<<` merges mappings only")
        return {key: value for part in reversed(values) for key, value in part.items()}

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode) or not node.tag.endswith(":str"):
            raise self._refused(node, "a key must be text; put it in quotes")
        return node.value

    def _scalar(self, node: Node, keys: Keys) -> str | int | float | bool | None:
        if node.tag not in _SCALARS:
            kind = node.tag.rsplit(":", 1)[-1]
            raise self._refused(node, f"{dotted(keys)}: a {kind} is not allowed; put it in quotes")
        try:
            value = self._yaml.constructor.construct_object(node)
        except ValueError as error:
            raise self._refused(node, f"{dotted(keys)}: is not a number: {error}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refused(node, f"{dotted(keys)}: {node.value} is not a finite number")
        return value

    def _at(self, node: Node) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"

    def _refused(self, node: Node, message: str) -> UserError:
        return UserError(f"{self._at(node)}: {message}")
