"""Recipes: our own files are what papers say, and a file that is wrong is refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mimlab_objectives
from mimlab_objectives.masking.plan import Grid, maskings
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.recipes.base import Recipe, Recipes, recipes

mimlab_objectives.discover()
OWN = [recipe for recipe in recipes.entries() if recipe.module.startswith("mimlab_objectives.")]
GRID: Grid = (14, 14)

SETTINGS: dict[str, Any] = {
    "objective": {"name": "mae"},
    "target": {"name": "pixels"},
    "masking": {"name": "random", "ratio": 0.75},
}


def recipe(**settings: Any) -> Recipe:
    content = {"name": "mine", "module": "tests", "summary": "Hides.", "paper": "none"}
    return Recipe.model_validate({**content, "settings": {**SETTINGS, **settings}})


def test_every_file_is_a_recipe_that_a_study_can_name() -> None:
    files = Path(mimlab_objectives.__file__).parent.glob("recipes/*.yaml")
    assert [one.name for one in OWN] == sorted(file.stem for file in files)
    assert {"mae", "simmim", "beit", "maskfeat", "pim", "mapet"} <= {one.name for one in OWN}


def test_every_objective_but_the_approximate_one_has_its_paper_s_recipe() -> None:
    named = {one.settings.objective["name"] for one in OWN}
    own = {e.name for e in objectives.entries() if e.part.__module__.startswith("mimlab_obj")}
    assert own - named == {"supervised_mim"}


@pytest.mark.parametrize("one", OWN, ids=lambda one: one.name)
def test_what_is_said_of_a_recipe_is_short(one: Recipe) -> None:
    for text in (one.summary, *one.notes):
        assert text.endswith(".") and "|" not in text and len(text) < 110


HIDDEN = {
    "beit": 75,
    "cae": 98,
    "data2vec": 120,
    "dmjd": 120,
    "hpm": 147,
    "latent_mim": 176,
    "mae": 147,
    "mapet": 147,
    "maskalign": 138,
    "masksub": 98,
    "pim": 147,
    "simmim": 120,
}
"""Patches of 14×14 that the official code hides, by its own rule of rounding."""


@pytest.mark.parametrize("name", HIDDEN)
def test_as_many_patches_are_hidden_as_in_the_official_code(name: str) -> None:
    given = dict(recipes[name].settings.masking)
    entry = maskings[given.pop("name")]
    assert entry.part(entry.params.model_validate(given), GRID).num_hidden == HIDDEN[name]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"masking": {"name": "randm"}}, "no masking is called 'randm'; there are"),
        ({"masking": {"ratio": 0.5}}, "no masking is called None"),
        ({"masking": {"name": "random", "ratio": "half"}}, "masking.ratio"),
        ({"target": {"name": "pixels", "norms": 1}}, "target.norms: Extra inputs"),
        ({"objective": {"name": "mae", "decoder_depth": "8"}}, "objective.decoder_depth"),
        (
            {"backbone": {"depth": 2}},
            "backbone.depth is the study's, not drop_path and layer_scale",
        ),
        ({"backbone": {"drop_path": 2.0}}, "backbone.drop_path: Input should be less than 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], told: str) -> None:
    added = Recipes()
    with pytest.raises(ValueError, match=r"^recipe 'mine': ") as caught:
        added.add(recipe(**settings))
    assert told in str(caught.value)
    assert list(added) == []


def test_a_name_is_taken_once() -> None:
    added = Recipes()
    added.add(recipe())
    with pytest.raises(ValueError, match="recipe 'mine' is there twice: of tests and of tests"):
        added.add(recipe())


FILE = """\
summary: Hides.
paper: none
settings:
  objective: {name: mae}
  target: {name: pixels}
  masking: {name: random}
"""


def test_a_folder_of_files_is_added_in_order(tmp_path: Path) -> None:
    for name in ("two", "one"):
        (tmp_path / f"{name}.yaml").write_text(FILE)
    added = Recipes()
    added.add_folder(tmp_path, "tests")
    assert list(added) == ["one", "two"]
    assert added["one"].module == "tests"
    assert added["one"].combines == "mae × pixels × random"
    assert added["one"].sections.keys() == {"objective", "target", "masking"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FILE + "train: {batch_size: 1}\n", "train"),
        (FILE + "  train: {batch_size: 1}\n", "settings.train"),
        (FILE.replace("  masking: {name: random}\n", ""), "settings.masking"),
        (FILE.replace("random", "randm"), "no masking is called 'randm'"),
        ("- one\n", "a recipe is a mapping"),
        ("{", "while parsing a flow node"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"^wrong\.yaml: ") as caught:
        Recipes().add_folder(tmp_path, "tests")
    assert told in str(caught.value)
