"""What is registered, for people: names, parameters, needs, papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from mimlab.spec.needs import needs_of
from mimlab.spec.parts import register_parts
from mimlab.spec.study import REGISTRIES
from mimlab_objectives.masking.schedules import schedules
from mimlab_objectives.recipes.base import recipes
from mimlab_objectives.registry import Registry
from mimlab_objectives.tokenizers.base import patch_encoders

KINDS: Mapping[str, Registry[Any]] = {
    **{f"{kind}s": registry for kind, registry in REGISTRIES.items()},
    "schedules": schedules,
    "tokenizers": patch_encoders,
}
"""What can be listed, by plural."""
OWN_PACKAGE = "mimlab_objectives"
"""Where parts come from that are not of a plug-in."""


class Parameter(BaseModel):
    """One parameter of a part."""

    name: str
    default: str
    help: str


class CataloguePart(BaseModel):
    """One registered part."""

    name: str
    summary: str
    parameters: list[Parameter]
    needs: list[str]
    """What it asks of other parts, in words."""
    paper: str
    revision: int
    package: str
    """Where it comes from: `mimlab_objectives`, or a plug-in's top-level module."""


def catalogue() -> dict[str, list[CataloguePart]]:
    """Every registered part, by plural kind and name."""
    register_parts()
    return {
        kind: [
            CataloguePart(
                name=entry.name,
                summary=entry.summary,
                parameters=[
                    Parameter(name=name, default=_default(field), help=field.description or "")
                    for name, field in entry.params.model_fields.items()
                    if name != "name"
                ],
                needs=needs_of(entry.part),
                paper=entry.paper,
                revision=entry.revision,
                package=entry.part.__module__.partition(".")[0],
            )
            for entry in registry.entries()
        ]
        for kind, registry in KINDS.items()
    }


class CatalogueRecipe(BaseModel):
    """One recipe."""

    name: str
    summary: str
    combines: str
    """Objective × target × masking."""
    paper: str
    notes: list[str]
    """What differs from the paper, is approximate or could not be verified."""
    settings: dict[str, dict[str, Any]]
    """What a study with it has, unless it says otherwise."""
    package: str
    """Where it comes from, as that of a part."""


def catalogue_of_recipes() -> list[CatalogueRecipe]:
    """Every recipe, by name."""
    register_parts()
    return [
        CatalogueRecipe(
            name=recipe.name,
            summary=recipe.summary,
            combines=recipe.combines,
            paper=recipe.paper,
            notes=list(recipe.notes),
            settings=recipe.sections,
            package=recipe.module.partition(".")[0],
        )
        for recipe in recipes.entries()
    ]


def _default(field) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return "{" + ", ".join(f"{name}: {value}" for name, value in field.default) + "}"
    return str(field.default)
