"""Recipes in studies: what wins over what, axes over papers, and names that there are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.spec.identity import identity
from mimlab.spec.space import space_of
from mimlab_objectives.recipes.base import recipes

BASE: dict[str, Any] = {
    "study": "small",
    "data": {"images": "digits", "image_size": 32},
    "backbone": {
        "name": "vit_tiny_patch16_224",
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 5,
        "num_heads": 2,
    },
    "train": {"budget": {"epochs": 10}, "batch_size": 64},
}
"""8×8 patches, no parts."""
TOKENS = {"name": "tokens", "vocabulary": 512}


def study(**sections: Any) -> dict[str, Any]:
    return {**BASE, **sections}


def axes(**sections: Any) -> dict[str, Any]:
    """Axes over recipes, `sections` being others and what else `sweep` has."""
    given = {"recipe": ["mae", "simmim", "maskfeat"], **sections.pop("axes", {})}
    return {"sweep": {"axes": given, **sections}}


@pytest.fixture(scope="session", autouse=True)
def _registered(studies) -> None:
    """Recipes are known once a study has been read."""
    studies.load(studies.text())


@pytest.mark.parametrize("name", ["maskfeat", "beit", "maskalign", "mage"])
def test_a_recipe_is_the_same_trial_as_its_settings_spelled_out(studies, name: str) -> None:
    spelled = dict(recipes[name].sections)
    spelled["backbone"] = BASE["backbone"] | spelled.get("backbone", {})
    (by_name,) = studies.trials(studies.text(**study(recipe=name)))
    (by_hand,) = studies.trials(studies.text(**study(**spelled)))
    assert identity(by_name.spec, "data") == identity(by_hand.spec, "data")
    assert "recipe" not in identity(by_name.spec, "data")[1]
    assert (by_name.spec.recipe, by_hand.spec.recipe) == (name, None)


PATHS = {"masking.ratio": 0.4, "masking.aspect": 0.3, "backbone.drop_path": 0.0}
"""What maskfeat, or else the default, gives."""


@settings(max_examples=40)
@given(
    path=st.sampled_from(sorted(PATHS)),
    own=st.sampled_from([None, 0.45]),
    preset=st.sampled_from([None, 0.5]),
    override=st.sampled_from([None, 0.55]),
    axis=st.sampled_from([None, 0.6]),
    over_recipes=st.booleans(),
)
def test_the_nearest_to_the_trial_wins(
    studies,
    path: str,
    own: float | None,
    preset: float | None,
    override: float | None,
    axis: float | None,
    over_recipes: bool,
) -> None:
    """Defaults, recipe, the study's own keys, preset, `--set`, axes: the last that speaks."""
    section, key = path.split(".")
    content = study(presets={"one": {} if preset is None else {section: {key: preset}}})
    if own is not None:
        content[section] = {**content.get(section, {}), key: own}
    named = {"recipe": ["maskfeat"]} if over_recipes else {}
    content |= {} if over_recipes else {"recipe": "maskfeat"}
    content["sweep"] = {"axes": {**named, **({} if axis is None else {path: [axis]})}}
    overrides = [] if override is None else [f"{path}={override}"]
    (trial,) = studies.trials(studies.text(**content), "one", overrides)
    spoken = [value for value in (own, preset, override, axis) if value is not None]
    found = getattr(getattr(trial.spec, section), key)
    assert found == (spoken[-1] if spoken else PATHS[path])


def test_another_part_keeps_what_both_have_and_drops_the_rest(studies) -> None:
    text = studies.text(**study(recipe="maskfeat", masking={"name": "coarse"}))
    (trial,) = studies.trials(text)
    assert trial.spec.masking.model_dump() == {"name": "coarse", "ratio": 0.4, "cell": 2}
    (trial,) = studies.trials(text, None, ["objective.name=mae"])
    assert (trial.spec.objective.name, trial.spec.target.name) == ("mae", "hog")


def test_a_recipe_is_chosen_or_taken_away_by_presets_and_overrides(studies) -> None:
    content = study(recipe="mae", presets={"other": {"recipe": "simmim"}})
    text = studies.text(**content)
    assert studies.trials(text, "other")[0].spec.objective.name == "simmim"
    assert studies.trials(text, "other", ["recipe=hpm"])[0].spec.objective.name == "hpm"
    assert "objective: is missing" in studies.refusal(text, None, ["recipe=null"])


def test_an_axis_compares_papers_and_multiplies_with_others(studies) -> None:
    content = study(**axes(axes={"masking.ratio": [0.5, 0.75]}))
    trials = studies.trials(studies.text(**content))
    assert trials == studies.trials(studies.text(**content))
    assert [(t.point["recipe"], t.spec.masking.name, t.point["masking.ratio"]) for t in trials] == [
        (recipe, masking, ratio)
        for recipe, masking in (("mae", "random"), ("simmim", "coarse"), ("maskfeat", "block"))
        for ratio in (0.5, 0.75)
    ]
    assert [t.spec.target.name for t in trials[::2]] == ["pixels", "pixels", "hog"]
    assert [t.spec.recipe for t in trials[::2]] == ["mae", "simmim", "maskfeat"]
    # Nothing of one recipe is left where there is another.
    assert [t.spec.backbone.layer_scale for t in trials[::2]] == [None, 0.1, None]
    alone = studies.trials(studies.text(**study(recipe="maskfeat", masking={"ratio": 0.5})))
    assert identity(trials[4].spec, "data") == identity(alone[0].spec, "data")


def test_what_the_study_says_lies_over_every_recipe(studies) -> None:
    papers = axes(axes={"recipe": ["beit", "pim", "mapet"]})
    trials = studies.trials(studies.text(**study(target=TOKENS, **papers)))
    assert [t.spec.objective.name for t in trials] == ["simmim", "pim", "mapet"]
    targets = [t.spec.target.model_dump() for t in trials]
    assert [one["vocabulary"] for one in targets] == [512, 512, 512]
    teachers = [one["teacher"] and one["teacher"]["name"] for one in targets]
    assert teachers == [None, "resnet50x64_clip", "resnet50x64_clip"]


def test_an_axis_of_whole_mappings_makes_a_part_equal_for_all_recipes(studies) -> None:
    papers = axes(axes={"recipe": ["beit", "pim", "mapet"], "target": [TOKENS]})
    trials = studies.trials(studies.text(**study(**papers)))
    assert len({t.spec.target.model_dump_json() for t in trials}) == 1
    assert trials[0].spec.target.model_dump()["teacher"] is None


def test_a_condition_may_ask_for_a_recipe_or_for_what_it_brings(studies) -> None:
    when = [
        {"if": {"recipe": ["mae", "simmim"]}, "axes": {"target.norm": ["patch"]}},
        {"if": {"masking.name": "block"}, "axes": {"masking.min_area": [4, 8]}},
    ]
    exclude = [{"target.name": "hog", "masking.min_area": 8}]
    trials = studies.trials(studies.text(**study(**axes(when=when, exclude=exclude))))
    assert [dict(t.point) for t in trials] == [
        {"recipe": "mae", "target.norm": "patch"},
        {"recipe": "simmim", "target.norm": "patch"},
        {"recipe": "maskfeat", "masking.min_area": 4},
    ]
    when = [{"if": {"masking.name": "grid"}, "axes": {"masking.offset": ["random"]}}]
    told = studies.refusal(studies.text(**study(**axes(when=when))))
    assert "masking.name: is never grid; it is random, coarse, block" in told


def test_recipes_vary_together_with_other_axes(studies) -> None:
    given = axes(axes={"train.optimizer.base_lr": [1e-3, 2e-3, 3e-3]})
    given["sweep"]["zip"] = [["recipe", "train.optimizer.base_lr"]]
    found = [(t.spec.recipe, t.spec.train.optimizer.base_lr) for t in studies.trials(
        studies.text(**study(**given)))]  # fmt: skip
    assert found == [("mae", 1e-3), ("simmim", 2e-3), ("maskfeat", 3e-3)]


def test_a_search_chooses_among_recipes(studies) -> None:
    search = {"name": "optuna", "num_trials": 6, "startup_trials": 6, "metric": "probe/knn/top1"}
    content = study(probes=[{"name": "knn", "at": "end"}])
    content |= axes(axes={"masking.ratio": {"low": 0.4, "high": 0.8}}, search=search)
    loaded = studies.load(studies.text(**content))
    space = space_of(loaded)
    assert json.loads(json.dumps(space.base)) == space.base
    trials = studies.trials(studies.text(**content))
    assert len(trials) == 6
    for trial in trials:
        assert trial.spec == space.spec(trial.settings)
        assert trial.spec.recipe == trial.point["recipe"]
        maskings = {"mae": "random", "simmim": "coarse", "maskfeat": "block"}
        assert trial.spec.masking.name == maskings[trial.spec.recipe]


def test_two_recipes_of_equal_settings_are_the_same_trial(studies) -> None:
    parts = {
        "objective": {"name": "simmim", "loss": "mse"},
        "target": {"name": "hog"},
        "masking": {"name": "block", "ratio": 0.5, "min_area": 4},
        "backbone": BASE["backbone"] | {"drop_path": 0.0, "layer_scale": None},
    }
    told = studies.refusal(studies.text(**study(**parts, **axes(axes={"recipe": ["mae", "hpm"]}))))
    assert "(recipe=mae, seed=0) and (recipe=hpm, seed=0) are the same trial" in told


@pytest.mark.parametrize("name", ["maskfet", "MAE", "", 3, True])
def test_an_unknown_recipe_is_refused_at_its_line(studies, name: Any) -> None:
    text = studies.text(**study(recipe=name))
    told = studies.refusal(text)
    assert told.startswith(f"{studies.line(text, 'recipe:')}: recipe: no recipe is called {name!r}")
    assert "There are a2mim, beit, " in told and "\n" not in told
    assert ("did you mean `maskfeat`?" in told) == (name == "maskfet")


def test_unknown_recipes_of_an_axis_and_of_an_override_too(studies) -> None:
    text = studies.text(**study(**axes(axes={"recipe": ["mae", "mapett"]})))
    told = studies.refusal(text)
    place = studies.line(text, "mapett")
    assert told.startswith(f"{place}: sweep.axes.recipe.1: no recipe is called 'mapett'; did you")
    told = studies.refusal(studies.text(**study(recipe="mae")), None, ["recipe=mea"])
    assert told.startswith(
        "--set recipe=mea: recipe: no recipe is called 'mea'; did you mean `mae`"
    )


def test_several_recipes_are_an_axis_and_a_range_is_none(studies) -> None:
    told = studies.refusal(studies.text(**study(recipe=["mae", "simmim"])))
    assert "recipe: is one name; several are an axis" in told
    told = studies.refusal(studies.text(**study(**axes(axes={"recipe": {"low": 0, "high": 1}}))))
    assert "sweep.axes.recipe: an axis over recipes is a list of their names" in told


def test_parts_that_do_not_fit_are_refused_at_the_recipe_s_line(studies) -> None:
    text = studies.text(**study(recipe="beit", objective={"name": "mae"}))
    told = studies.refusal(text)
    place = f"{studies.line(text, 'recipe:')} (recipe beit)"
    assert told.startswith(f"{place}: masking.name: block_unrepaired hides a different number")
    assert "take another masking (block, " in told
    text = studies.text(
        **study(**axes(axes={"recipe": ["mae", "beit"], "objective.name": ["mae"]}))
    )
    told = studies.refusal(text)
    place = f"{studies.line(text, '- beit')} (recipe beit)"
    assert told.startswith(f"{place}: masking.name: block_unrepaired hides a different number")
    assert "(at recipe=beit, objective.name=mae)" in told


def test_a_parameter_of_another_recipe_s_part_is_refused_at_its_own_line(studies) -> None:
    text = studies.text(**study(objective={"decoder_depth": 1}, **axes()))
    told = studies.refusal(text)
    place = studies.line(text, "decoder_depth")
    assert told.startswith(f"{place}: objective.decoder_depth: belongs to ")
    assert "not to simmim; an axis over it goes under `when`" in told
    assert "(at recipe=simmim; recipe=maskfeat)" in told


def test_what_is_too_small_for_a_recipe_is_said_of_the_recipe(studies) -> None:
    text = studies.text(**study(recipe="ropim"))
    told = studies.refusal(text)
    assert told.startswith(f"{studies.line(text, 'recipe:')} (recipe ropim): masking.bucket: 64 pa")
    own = studies.text(**study(recipe="ropim", masking={"bucket": 5}))
    assert studies.refusal(own).startswith(f"{studies.line(own, 'bucket')}: masking.bucket: 64 pat")
