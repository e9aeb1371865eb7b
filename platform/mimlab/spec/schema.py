"""The JSON Schema of a study file, for editors."""

from __future__ import annotations

from typing import Any

from mimlab.spec.recipes import RECIPE
from mimlab.spec.study import REGISTRIES, study_model
from mimlab_objectives.recipes.base import recipes

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def study_schema() -> dict[str, Any]:
    """The schema with every part and recipe that is registered now; descriptions are help."""
    schema = study_model().model_json_schema()
    _let_recipes_name_parts(schema)
    return {"$schema": DIALECT, **schema, "title": "mimlab study"}


def _let_recipes_name_parts(schema: dict[str, Any]) -> None:
    """A study with a recipe, or an axis over recipes, need not name parts; the model, which sees a
    study over its recipe, knows of names only."""
    properties = schema["properties"]
    for section in REGISTRIES:
        named = properties[section]
        nameless = {
            "description": f"Parameters of the recipe's {section}.",
            "type": "object",
            "not": {"required": ["name"]},
        }
        properties[section] = {"description": named["description"], "anyOf": [named, nameless]}
    schema["required"] = [key for key in schema["required"] if key not in REGISTRIES]
    by_study = {
        "required": list(REGISTRIES),
        "properties": {section: {"required": ["name"]} for section in REGISTRIES},
    }
    by_axis = _with("sweep", _with("axes", {"required": [RECIPE]}))
    schema["allOf"] = [{"anyOf": [by_study, {"required": [RECIPE]}, by_axis]}]
    names = {"type": "array", "minItems": 1, "items": {"enum": list(recipes)}}
    schema["$defs"]["SweepConfig"]["properties"]["axes"]["properties"] = {
        RECIPE: {"description": "Names of recipes.", **names}
    }


def _with(key: str, inner: dict[str, Any]) -> dict[str, Any]:
    """An object in which `key` is given and holds."""
    return {"required": [key], "properties": {key: inner}}
