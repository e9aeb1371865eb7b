"""`recipe:` of a study: a paper's settings, laid under what the study itself says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mimlab.spec.errors import Problem, nearest
from mimlab.spec.overlay import overlaid
from mimlab.spec.positions import Keys, Source
from mimlab.spec.shape import Model, lookup
from mimlab_objectives.recipes.base import recipes

RECIPE = "recipe"
"""The key of a study that names one, and the path of an axis over them."""


def recipe_problems(own: Mapping[str, Any]) -> Iterator[Problem]:
    """Names of recipes that there are not, in a study as it is written and in its axes."""
    name = own.get(RECIPE)
    if isinstance(name, list):
        yield Problem((RECIPE,), "is one name; several are an axis: `sweep: {axes: {recipe: […]}}`")
    elif name is not None and (message := _unknown(name)):
        yield Problem((RECIPE,), message)
    for at, axis in _axes(own):
        if not isinstance(axis, list):
            yield Problem(at, "an axis over recipes is a list of their names")
            continue
        for number, value in enumerate(axis):
            if message := _unknown(value):
                yield Problem((*at, number), message)


def over_recipe(own: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """What a study, or a trial, says over the settings of the recipe that it names.

    As with an axis over a `….name`, parameters of a part of the recipe that is replaced stay where
    the new part has them too.
    """
    name = own.get(RECIPE)
    return dict(own) if name is None else overlaid(recipes[name].sections, own, model)


def with_base_recipe(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study that names its recipes by an axis alone has the first one where no axis counts."""
    if own.get(RECIPE) is not None:
        return own
    first = next((axis[0] for _, axis in _axes(own) if isinstance(axis, list) and axis), None)
    return own if first is None else {**own, RECIPE: first}


def recipe_places(own: Mapping[str, Any], source: Source) -> Source:
    """What stands in a study by its recipe was written where the recipe is named.

    Of recipes that are an axis, each point knows its own: `mimlab.spec.expand`.
    """
    name = own.get(RECIPE)
    if name is None or any(_axes(own)):
        return source
    return source.beneath(recipes[name].sections, f"{source.where((RECIPE,))} (recipe {name})")


def speaks_of(recipe: str, keys: Keys) -> bool:
    """Whether a recipe has settings in the section that `keys` lead into."""
    return bool(keys) and keys[0] in recipes[recipe].sections


def implied_axes(own: Mapping[str, Any], model: Model) -> Iterator[tuple[str, list[Any]]]:
    """What an axis over recipes makes of each section: the section's path, and its values."""
    for _, axis in _axes(own):
        roots = [over_recipe({**own, RECIPE: name}, model) for name in axis]
        for section in dict.fromkeys(one for name in axis for one in recipes[name].sections):
            yield section, [root.get(section) for root in roots]


def _axes(own: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Each axis over recipes, and where it stands."""
    conditions = lookup(own, ("sweep", "when"))
    count = len(conditions) if isinstance(conditions, list) else 0
    for place in [("sweep", "axes"), *(("sweep", "when", i, "axes") for i in range(count))]:
        axes = lookup(own, place)
        if isinstance(axes, Mapping) and RECIPE in axes:
            yield (*place, RECIPE), axes[RECIPE]


def _unknown(name: Any) -> str:
    """Why a value names no recipe; empty if it does."""
    if isinstance(name, str) and name in recipes:
        return ""
    return (
        f"no recipe is called {name!r}; {nearest(str(name), recipes)}There are {', '.join(recipes)}"
    )
