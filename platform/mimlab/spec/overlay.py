"""Changing a study before it is validated: presets, `--set` and the values of axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mimlab.spec.positions import Keys
from mimlab.spec.section import OneOf
from mimlab.spec.shape import Model, annotation_at, child, fields, lookup, model_of


class NotASection(Exception):
    """A path that leads through a value; `keys` is where that value stands."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys)
        self.keys = keys


def overlaid(root: Any, over: Mapping[str, Any], model: Model, at: Keys = ()) -> Any:
    """`root` with a mapping laid over it: mappings merge, everything else is replaced.

    A `name` is laid first, so that the keys beside it belong to the new name.
    """
    for key in sorted(over, key=lambda key: key != "name"):
        value, keys = over[key], (*at, key)
        whole = _is_one_of(annotation_at(model, keys, root))
        if not whole and isinstance(value, Mapping) and isinstance(lookup(root, keys), Mapping):
            root = overlaid(root, value, model, keys)
        else:
            root = assigned(root, keys, value, model)
    return root


def assigned(root: Any, keys: Keys, value: Any, model: Model) -> Any:
    """`root` with one value changed; sections on the way are made where they are missing.

    Changing the `name` of a section keeps the keys that the old and the new name share and drops
    the others. Giving one key of a `OneOf` drops the key that was given before. Raises NotASection.
    """
    section = lookup(root, keys[:-1])
    if keys[-1] == "name" and isinstance(section, Mapping) and isinstance(value, str):
        annotation = annotation_at(model, keys[:-1], root)
        return _put(root, keys[:-1], _renamed(section, value, annotation), ())
    if value is not None and _is_one_of(annotation_at(model, keys[:-1], root)):
        return _put(root, keys[:-1], {keys[-1]: value}, ())
    return _put(root, keys, value, ())


def _is_one_of(annotation: Any) -> bool:
    model = model_of(annotation, None)
    return model is not None and issubclass(model, OneOf)


def _renamed(section: Mapping[str, Any], name: str, annotation: Any) -> dict[str, Any]:
    new = model_of(annotation, {"name": name})
    if new is None:
        return {**section, "name": name}
    old = model_of(annotation, section)
    dropped = (fields(old).keys() if old else set()) - fields(new).keys()
    return {key: value for key, value in section.items() if key not in dropped} | {"name": name}


def _put(node: Any, keys: Keys, value: Any, seen: Keys) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    inner = _put(child(node, key), rest, value, (*seen, key))
    if isinstance(node, list):
        if not isinstance(key, int) or key >= len(node):
            raise NotASection(seen)
        return [*node[:key], inner, *node[key + 1 :]]
    if node is not None and not isinstance(node, Mapping):
        raise NotASection(seen)
    return {**(node or {}), key: inner}
