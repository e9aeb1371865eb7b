"""A configuration as YAML, each line with the dotted path that it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def yaml_lines(
    value: Mapping[str, Any], path: str = "", depth: int = 0
) -> Iterator[tuple[str, str]]:
    """(dotted path, line): mappings are indented, what lies below a list stands in one line."""
    indent = "  " * depth
    for key, item in value.items():
        at = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping) and item:
            yield at, f"{indent}{key}:"
            yield from yaml_lines(item, at, depth + 1)
        elif isinstance(item, list) and any(isinstance(each, Mapping) for each in item):
            yield at, f"{indent}{key}:"
            yield from ((at, f"{indent}  - {_flow(each)}") for each in item)
        else:
            yield at, f"{indent}{key}: {_flow(item)}"


def leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, value as YAML) of everything that is no mapping."""
    for key, item in value.items():
        at = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping) and item:
            yield from leaves(item, at)
        else:
            yield at, _flow(item)


def _flow(value: Any) -> str:
    """JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)
