"""Walking pydantic models by the paths of a study: which section, which keys, which names."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mimlab.spec.positions import Keys

Model = type[BaseModel]


def fields(model: Model) -> dict[str, FieldInfo]:
    """Fields by the key that a study writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def models(annotation: Any) -> list[Model]:
    """The models that a field may hold: several where a `name` chooses among them."""
    if get_origin(annotation) is Annotated:
        return models(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [model for part in get_args(annotation) for model in models(part)]
    return [annotation] if _is_model(annotation) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def names(annotation: Any) -> dict[str, Model]:
    """Models by the `name` that chooses them; empty where nothing is chosen by name."""
    found = {}
    for model in models(annotation):
        field = model.model_fields.get("name")
        if field is not None and get_origin(field.annotation) is Literal:
            found |= dict.fromkeys(get_args(field.annotation), model)
    return found


def model_of(annotation: Any, value: Any) -> Model | None:
    """The model that validates `value`; None for scalars and for a name that does not exist."""
    found = models(annotation)
    if len(found) == 1:
        return found[0]
    name = value.get("name") if isinstance(value, Mapping) else None
    return names(annotation).get(name) if isinstance(name, str) else None


def annotation_at(model: Model, keys: Keys, root: Any) -> Any:
    """The type of what stands at `keys` of `root`; None where no type is known.

    Follows the names that `root` gives, so that `masking.ratio` is looked up in the masking that
    it chooses.
    """
    annotation: Any = model
    value = root
    for key in keys:
        annotation = _inside(annotation, key, value)
        value = child(value, key)
    return annotation


def child(value: Any, key: str | int) -> Any:
    """The value at one key or index; None where there is none."""
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def lookup(root: Any, keys: Keys) -> Any:
    """The value at `keys`; None where there is none."""
    for key in keys:
        root = child(root, key)
    return root


def _inside(annotation: Any, key: str | int, value: Any) -> Any:
    model = model_of(annotation, value)
    if model is not None:
        field = fields(model).get(str(key))
        return None if field is None else field.annotation
    if get_origin(annotation) is Annotated:
        return _inside(get_args(annotation)[0], key, value)
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        return next((found for p in parts if (found := _inside(p, key, value)) is not None), None)
    if get_origin(annotation) in (tuple, list) and isinstance(key, int):
        return get_args(annotation)[0]
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return None
