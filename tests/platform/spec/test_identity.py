"""What makes a trial another trial, and what does not: every key of the schema is asked."""

import copy
import dataclasses
import json
from typing import Any

import pytest
from pydantic import BaseModel

from mimlab.spec.identity import identity, identity_on
from mimlab.spec.resolve import study_hash
from mimlab.spec.section import NotIdentity
from mimlab.spec.shape import models
from mimlab.spec.study import REGISTRIES, TrialSpec, trial_model, trial_spec
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.registry import Registry

SPEC: dict[str, Any] = {
    "data": {"images": "/data", "image_size": 16},
    "backbone": {"name": "vit_tiny_patch16_224"},
    "objective": {"name": "mae"},
    "target": {"name": "pixels"},
    "masking": {"name": "block", "ratio": 0.5},
    "train": {"budget": {"epochs": 10}, "batch_size": 64, "warmup_epochs": 1},
    "probes": [],
    "collapse": {"stop": False},
    "seed": 0,
    "recipe": None,
}

OTHER: dict[str, Any] = {
    "data.image_size": 32,
    "data.augment.crop_scale": [0.5, 1.0],
    "data.augment.crop_ratio": [0.5, 1.0],
    "data.augment.flip": 0.25,
    "data.subset": 0.5,
    "data.splits.train": "half",
    "backbone.name": "vit_small_patch16_224",
    "backbone.patch_size": 4,
    "backbone.embed_dim": 32,
    "backbone.depth": 2,
    "backbone.num_heads": 2,
    "backbone.drop_path": 0.1,
    "backbone.layer_scale": 0.1,
    "backbone.init": "sha256:0",
    "objective.name": "simmim",
    "objective.decoder_depth": 2,
    "objective.decoder_width": 64,
    "objective.decoder_heads": 4,
    "objective.encoder_mask_token": True,
    "objective.loss": "smooth_l1",
    "target.norm": "none",
    "masking.name": "random",
    "masking.ratio": 0.75,
    "masking.min_area": 2,
    "masking.aspect": 0.5,
    "train.budget": {"epochs": 11},
    "train.batch_size": 32,
    "train.accumulate": 2,
    "train.optimizer.base_lr": 1e-3,
    "train.optimizer.weight_decay": 0.1,
    "train.optimizer.weight_decay_end": 0.4,
    "train.optimizer.betas": [0.9, 0.99],
    "train.warmup_epochs": 2,
    "train.min_lr": 1e-6,
    "train.clip_norm": 1.0,
    "train.precision": "bf16",
    "seed": 1,
}
"""Another legal value of every key that changes results."""

SAME: dict[str, Any] = {
    "recipe": "mae",
    "data.images": "/elsewhere",
    "data.decode": "tasks",
    "data.max_skipped": 0.5,
    "data.splits.probe_fit": "half",
    "data.splits.probe_test": "half",
    "data.sidecars": {"prior": "/maps"},
    "data.tokens": "/tokens",
    "train.deterministic": True,
    "train.log_every": 7,
    "train.checkpoint.every_epochs": 2,
    "train.checkpoint.keep_last": 9,
    "train.checkpoint.keep_best": 0,
    "probes": [{"name": "knn", "at": "end"}],
    "collapse.min_feature_std": 0.5,
    "collapse.min_effective_rank": 3.0,
    "collapse.stop": True,
}
"""Another legal value of every key that must not change results."""

ONE_VALUE = {"target.name", "train.optimizer.name"}
"""Keys that have no other value yet."""


def with_value(path: str, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    section = spec
    *parents, last = path.split(".")
    for key in parents:
        section = section.setdefault(key, {})
    section[last] = value
    if path in ("objective.name", "masking.name"):
        spec[parents[0]] = {"name": value}
    return spec


def leaves(model: type[BaseModel], values: Any, at: str = "") -> set[str]:
    """Every key of the schema that SPEC's parts have; a budget is one key, as only one is given."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = [m for m in models(field.annotation) if isinstance(getattr(values, name), m)]
        path = f"{at}{name}"
        if inner and path != "train.budget":
            found |= leaves(inner[0], getattr(values, name), f"{path}.")
        else:
            found.add(path)
    return found


def trial_id(spec: dict[str, Any]) -> str:
    return identity(trial_spec(spec), "fingerprint")[0]


def test_no_key_of_the_schema_dodges_these_tests() -> None:
    keys = leaves(trial_model(), trial_spec(SPEC))
    assert keys == OTHER.keys() | SAME.keys() | ONE_VALUE
    for registry in REGISTRIES.values():
        for entry in registry.entries():
            marks = [mark for f in entry.params.model_fields.values() for mark in f.metadata]
            assert not any(isinstance(mark, NotIdentity) for mark in marks)


@pytest.mark.parametrize("path", OTHER)
def test_what_changes_results_makes_another_trial(path: str) -> None:
    assert trial_id(with_value(path, OTHER[path])) != trial_id(SPEC)


@pytest.mark.parametrize("path", SAME)
def test_what_changes_no_result_keeps_the_trial(path: str) -> None:
    changed = with_value(path, SAME[path])
    assert trial_spec(changed) != trial_spec(SPEC)
    assert identity(trial_spec(changed), "f") == identity(trial_spec(SPEC), "f")


def test_other_data_make_another_trial() -> None:
    spec = trial_spec(SPEC)
    assert identity(spec, "one")[0] != identity(spec, "two")[0]
    assert identity(spec, "one")[1]["data.fingerprint"] == "one"


def test_the_content_of_sidecars_makes_another_trial_and_having_none_does_not() -> None:
    spec = trial_spec(SPEC)
    plain, flat = identity(spec, "f")
    assert identity(spec, "f", {}) == (plain, flat)
    assert not any("sidecars" in key for key in flat)
    one, other = ({"prior": content} for content in ("one", "other"))
    assert len({plain, identity(spec, "f", one)[0], identity(spec, "f", other)[0]}) == 3
    found = identity(spec, "f", one)
    assert found[1]["data.sidecars.prior"] == "one"
    assert identity_on(spec, found[1]) == found
    assert identity_on(spec, flat) == (plain, flat)


def test_every_way_of_spelling_a_trial_is_one_trial() -> None:
    spec = trial_spec(SPEC)
    spelled = spec.model_dump(mode="json")
    assert trial_spec(spelled) == spec
    backwards = dict(reversed(spelled.items()))
    assert trial_id(backwards) == trial_id(SPEC)
    assert trial_id(with_value("train.warmup_epochs", 1.0)) == trial_id(SPEC)


@pytest.mark.parametrize("section", REGISTRIES)
def test_a_new_revision_of_a_part_makes_another_trial(
    section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: Registry[Any] = REGISTRIES[section]
    before, name = trial_id(SPEC), SPEC[section]["name"]
    newer = dataclasses.replace(registry[name], revision=registry[name].revision + 1)
    monkeypatch.setitem(registry._entries, name, newer)
    assert trial_id(SPEC) != before


def test_the_flat_keys_are_text_that_mlflow_takes() -> None:
    found, flat = identity(trial_spec(SPEC), "abc")
    assert len(found) == 12
    assert int(found, 16) >= 0
    assert flat["masking.ratio"] == "0.5"
    assert flat["train.optimizer.betas"] == "[0.9, 0.95]"
    assert flat["revision.masking"] == str(maskings["block"].revision)
    assert list(flat) == sorted(flat)
    assert all(value for value in flat.values())


def test_an_id_does_not_change_by_itself() -> None:
    """Whoever moves this changes the identity of every trial: raise SCHEMA_VERSION knowingly."""
    flat = identity(trial_spec(SPEC), "abc")[1]
    assert json.loads(flat["schema"]) == 1
    assert set(flat) == {
        "backbone.drop_path",
        "backbone.name",
        "data.augment.crop_ratio",
        "data.augment.crop_scale",
        "data.augment.flip",
        "data.fingerprint",
        "data.image_size",
        "data.splits.train",
        "masking.aspect",
        "masking.min_area",
        "masking.name",
        "masking.ratio",
        "objective.decoder_depth",
        "objective.decoder_heads",
        "objective.decoder_width",
        "objective.name",
        "revision.masking",
        "revision.objective",
        "revision.target",
        "schema",
        "seed",
        "target.name",
        "target.norm",
        "train.accumulate",
        "train.batch_size",
        "train.budget.epochs",
        "train.min_lr",
        "train.optimizer.base_lr",
        "train.optimizer.betas",
        "train.optimizer.name",
        "train.optimizer.weight_decay",
        "train.precision",
        "train.warmup_epochs",
    }


def test_the_hash_of_a_study_is_that_of_its_content(studies) -> None:
    text = studies.text()
    plain = study_hash(studies.load(text).study)
    spelled = studies.text(resources={"workers": 1}, presets={"one": {"train": {"batch_size": 8}}})
    assert study_hash(studies.load(f"# a comment\n{spelled}").study) == plain
    assert study_hash(studies.load(spelled, "one").study) != plain
    assert study_hash(studies.load(text, None, ["sweep.seeds=[1]"]).study) != plain


def test_a_trial_spec_of_the_base_has_the_sections_of_its_study() -> None:
    assert set(TrialSpec.model_fields) == set(SPEC)
