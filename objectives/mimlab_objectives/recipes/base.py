"""What a recipe is, and the recipes that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mimlab_objectives.backbones.vit import BackboneParams
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.registry import Params, Registry
from mimlab_objectives.targets.base import targets

_PARTS: Mapping[str, Registry[Any]] = {
    "objective": objectives,
    "target": targets,
    "masking": maskings,
}
_OF_THE_BACKBONE = frozenset({"drop_path", "layer_scale"})
"""What a paper may fix about the encoder; which encoder it is, is the study's."""


class RecipeSettings(BaseModel):
    """Sections of a study, as its file would hold them; what is not given has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: dict[str, Any]
    target: dict[str, Any]
    masking: dict[str, Any]
    backbone: dict[str, Any] = Field(default_factory=dict)


class Recipe(BaseModel):
    """A paper that only combines existing parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    """What a study writes under `recipe`; of a file, its name without `.yaml`."""
    module: str
    """Python module that adds it."""
    summary: str = Field(min_length=1)
    """What the paper does, in a sentence."""
    paper: str = Field(min_length=1)
    """Authors, year and number."""
    notes: tuple[str, ...] = ()
    """What differs from the paper, is approximate or could not be verified; a sentence each."""
    settings: RecipeSettings
    """What a study with this recipe has, unless it says otherwise."""

    @property
    def combines(self) -> str:
        """`simmim × hog × block`: objective, target and masking."""
        return " × ".join(getattr(self.settings, section)["name"] for section in _PARTS)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings as a study would write them, without sections that it leaves alone."""
        return {name: section for name, section in self.settings if section}


class Recipes:
    """Recipes by their names."""

    def __init__(self) -> None:
        self._recipes: dict[str, Recipe] = {}

    def add(self, recipe: Recipe) -> None:
        """Raises ValueError if the name is taken, or if a setting cannot be: the parts that it
        names must have been registered."""
        taken = self._recipes.get(recipe.name)
        if taken is not None:
            raise ValueError(
                f"recipe {recipe.name!r} is there twice: of {taken.module} and of {recipe.module}"
            )
        _check(recipe)
        self._recipes[recipe.name] = recipe

    def add_folder(self, folder: Path, module: str) -> None:
        """Every YAML file of a folder, in sorted order. Raises ValueError that names the file."""
        for file in sorted(folder.glob("*.yaml")):
            try:
                self.add(_read(file, module))
            except (ValueError, YAMLError) as error:
                raise ValueError(f"{file.name}: {error}") from error

    def __getitem__(self, name: str) -> Recipe:
        return self._recipes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._recipes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._recipes))

    def entries(self) -> list[Recipe]:
        """All recipes, by name."""
        return [self._recipes[name] for name in self]


def _read(file: Path, module: str) -> Recipe:
    content = YAML(typ="safe", pure=True).load(file.read_text())
    if not isinstance(content, dict):
        raise ValueError("a recipe is a mapping with `summary`, `paper` and `settings`")
    return Recipe.model_validate({**content, "name": file.stem, "module": module})


def _check(recipe: Recipe) -> None:
    """Each part must be registered and have its parameters. Raises ValueError."""
    for section, registry in _PARTS.items():
        given = dict(getattr(recipe.settings, section))
        name = given.pop("name", None)
        if name not in registry:
            there = f"there are {', '.join(registry)}"
            raise ValueError(f"recipe {recipe.name!r}: no {section} is called {name!r}; {there}")
        _check_values(recipe, section, given, registry[name].params)
    backbone = recipe.settings.backbone
    strangers = ", ".join(sorted(backbone.keys() - _OF_THE_BACKBONE))
    if strangers:
        legal = " and ".join(sorted(_OF_THE_BACKBONE))
        raise ValueError(
            f"recipe {recipe.name!r}: backbone.{strangers} is the study's, not {legal}"
        )
    _check_values(recipe, "backbone", backbone, BackboneParams)


def _check_values(
    recipe: Recipe, section: str, given: Mapping[str, Any], params: type[Params]
) -> None:
    try:
        params.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (section, *first["loc"])))
        raise ValueError(f"recipe {recipe.name!r}: {place}: {first['msg']}") from error


recipes = Recipes()
"""mimlab's own, and those of plug-ins."""
