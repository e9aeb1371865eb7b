"""The published schema knows every part and every key that a study may write."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mimlab.spec.positions import read_study_file
from mimlab.spec.schema import study_schema
from mimlab.spec.study import REGISTRIES
from mimlab_objectives.recipes.base import recipes

SWEEPS = sorted((Path(__file__).parents[3] / "sweeps").rglob("*.yaml"))


def test_the_schema_is_json_and_says_its_dialect() -> None:
    schema = json.loads(json.dumps(study_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"study", "data", "backbone", "train"}


SMALL: dict[str, Any] = {
    "study": "small",
    "data": {"images": "digits", "image_size": 16},
    "backbone": {"name": "vit_tiny_patch16_224"},
    "train": {"budget": {"epochs": 1}, "batch_size": 64},
}
PARTS: dict[str, Any] = {
    "objective": {"name": "mae"},
    "target": {"name": "pixels"},
    "masking": {"name": "random"},
}


@pytest.mark.parametrize(
    "given",
    [
        PARTS,
        {"recipe": "mae"},
        {"recipe": "mae", "masking": {"ratio": 0.5}},
        {"recipe": None, **PARTS},
        {"sweep": {"axes": {"recipe": ["mae", "simmim"], "masking.ratio": [0.5]}}},
    ],
)
def test_parts_are_named_by_the_study_or_by_a_recipe(given: dict[str, Any]) -> None:
    jsonschema.validate(SMALL | given, study_schema())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"recipe": "maee"},
        {"target": {"name": "pixels"}, "masking": {"name": "random"}},
        PARTS | {"masking": {"ratio": 0.5}},
        {"recipe": "mae", "masking": {"name": "random", "cell": 2}},
        {"sweep": {"axes": {"recipe": ["mae", "maee"]}}},
    ],
)
def test_a_study_without_parts_and_a_recipe_that_is_none_are_marked(given: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SMALL | given, study_schema())


def test_an_editor_can_complete_the_names_of_recipes() -> None:
    schema = study_schema()
    names = [one["enum"] for one in schema["properties"]["recipe"]["anyOf"] if "enum" in one]
    assert names == [list(recipes)]


def test_every_registered_part_and_parameter_is_in_it_with_help() -> None:
    definitions = study_schema()["$defs"]
    for kind, registry in REGISTRIES.items():
        for entry in registry.entries():
            properties = definitions[f"{kind}_{entry.name}"]["properties"]
            assert set(properties) == {"name", *entry.params.model_fields}
            assert all(one.get("description") for one in properties.values())


def test_every_key_has_help() -> None:
    schema = study_schema()
    for name, model in {"study": schema, **schema["$defs"]}.items():
        for key, one in model.get("properties", {}).items():
            text = one.get("description") or inside(schema, one, {})[0].get("description")
            assert text, f"{name}.{key}"


def inside(schema: dict[str, Any], node: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    """The nodes of a schema that may describe a mapping: references and choices followed."""
    if "$ref" in node:
        return inside(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]], value)
    if "discriminator" in node and "name" not in value:
        return []
    if "discriminator" in node:
        reference = node["discriminator"]["mapping"][value["name"]]
        return inside(schema, {"$ref": reference}, value)
    choices = [*node.get("anyOf", []), *node.get("oneOf", [])]
    return [found for one in choices for found in inside(schema, one, value)] or [node]


def walk(schema: dict[str, Any], node: dict[str, Any], value: Any, at: str) -> None:
    """Every key of `value` must have a place in the schema."""
    if isinstance(value, list):
        for one in value:
            for found in inside(schema, node, value):
                walk(schema, found.get("items", {}), one, at)
    if not isinstance(value, dict) or not node:
        return
    nodes = inside(schema, node, value)
    for key, one in value.items():
        homes = [n["properties"][key] for n in nodes if key in n.get("properties", {})]
        free = [n["additionalProperties"] for n in nodes if n.get("additionalProperties")]
        assert homes or free, f"{at}.{key}"
        for home in homes or [one for one in free if isinstance(one, dict)]:
            walk(schema, home, one, f"{at}.{key}")


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_key_of_our_studies_is_in_the_schema(file: Path) -> None:
    walk(study_schema(), study_schema(), read_study_file(file)[1], file.stem)
    with pytest.raises(AssertionError, match="nonsense"):
        walk(study_schema(), study_schema(), {"train": {"nonsense": 1}}, "wrong")
