"""Each recipe is a legal study by its name alone, at the paper's size and on a small grid."""

from __future__ import annotations

from typing import Any

import pytest

from mimlab_objectives.recipes.base import recipes

FULL: dict[str, Any] = {
    "study": "full",
    "data": {"images": "digits", "image_size": 224, "sidecars": {"prior": "maps"}},
    "backbone": {"name": "vit_small_patch16_224"},
    "train": {"budget": {"epochs": 10}, "batch_size": 64},
}
TINY: dict[str, Any] = {
    **FULL,
    "data": {**FULL["data"], "image_size": 32},
    "backbone": {
        "name": "vit_tiny_patch16_224",
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 5,
        "num_heads": 2,
    },
}
"""8×8 patches."""
ON_A_SMALL_GRID: dict[str, dict[str, Any]] = {"ropim": {"masking": {"bucket": 4}}}


def resolved(studies, content: dict[str, Any]) -> dict[str, Any]:
    (trial,) = studies.trials(studies.text(**content))
    return trial.spec.model_dump(mode="json")


def holds(given: Any, found: Any) -> bool:
    """Whether all that is given was found, defaults beside it."""
    if isinstance(given, dict):
        return all(holds(value, found[key]) for key, value in given.items())
    return given == found


def test_a_study_of_the_paper_s_size_needs_its_name_alone(studies) -> None:
    studies.load(studies.text())  # recipes are known once a study was read
    assert len(list(recipes)) > 20
    for recipe in recipes.entries():
        found = resolved(studies, {**FULL, "recipe": recipe.name})
        assert holds(recipe.sections, found), recipe.name
        assert found["recipe"] == recipe.name


def test_a_study_of_small_images_needs_little_more(studies) -> None:
    studies.load(studies.text())
    for recipe in recipes.entries():
        own = ON_A_SMALL_GRID.get(recipe.name, {})
        found = resolved(studies, {**TINY, "recipe": recipe.name, **own})
        assert holds(own, found), recipe.name


@pytest.mark.parametrize("name", ON_A_SMALL_GRID)
def test_what_a_small_grid_cannot_have_is_refused(studies, name: str) -> None:
    assert f"(recipe {name}): masking." in studies.refusal(studies.text(**TINY, recipe=name))
