"""A store that does not fit a trial is refused before anything starts, and the difference named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mimlab.data.builtin import built_in
from mimlab.data.manifest import DataSet
from mimlab.data.views import renderer
from mimlab.errors import UserError
from mimlab.search.submission import plan_study, reopen
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec

TOKENS = "target={name: tokens}"
SIMMIM = "objective={name: simmim}"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return DataSet.open(built_in("digits", tmp_path_factory.mktemp("digits")))


@pytest.fixture
def study(tmp_path: Path, tiny_study: str) -> Callable:
    """Loads the tiny study with `--set` style changes."""

    def load(*changes: str):
        (tmp_path / "tiny.yaml").write_text(tiny_study)
        return load_study(tmp_path / "tiny.yaml", None, [SIMMIM, *changes])

    return load


def refusal(judge: Callable, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        judge(*arguments)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            "data.image_size=32; backbone.patch_size=8",
            "was encoded for data.image_size 16, and this is 32",
        ),
        ("data.augment.flip=0.5", "was encoded with data.augment.flip 0, and this is 0.5"),
        (
            "data.augment.crop_scale=[0.2, 1.0]",
            "was encoded with data.augment.crop_scale [0.6, 1.0], and this is [0.2, 1.0]",
        ),
        ("backbone.patch_size=8", "has 4 × 4 patches a view, and vit_tiny_patch16_224 makes 2 × 2"),
        ("data.splits.train=test", "has no split test, which is trained on; it has train"),
        ("target.vocabulary=8192", "8192 codes are asked for, but data.tokens names a store of"),
        ("target.images=64", "has no effect: data.tokens names a store of by-hand"),
        ("target={name: features}", "holds codes, but target features is features"),
        ("target={name: pixels}", "pixels is not read from a store, so this one would have no"),
        ("target.stored={label: a, width: 3}", "is found in the store that data.tokens names"),
    ],
)
def test_what_the_manifest_says_is_held_against_each_trial(
    digits, write_store, views_of, study, change, reason
):
    place = write_store(digits, views=views_of())
    changes = [TOKENS, f"data.tokens={place}"]
    assert len(legal_trials(study(*changes))) == 1
    found = refusal(lambda: legal_trials(study(*changes, *change.split("; "))))
    assert reason in found and found.startswith("--set ")


def test_a_store_of_features_is_for_features(digits, write_store, views_of, study):
    place = write_store(
        digits, lambda ids, *_: np.zeros((len(ids), 16, 3)), views=views_of(), width=3
    )
    tokens = f"data.tokens={place}"
    (trial,) = legal_trials(study("target={name: features, norm: l2}", tokens))
    target = trial.spec.model_dump()["target"]
    assert target["teacher"] is None and target["stored"] == {"label": "by-hand", "width": 3}
    assert "holds features, but target tokens is codes" in refusal(
        lambda: legal_trials(study(TOKENS, tokens))
    )
    taught = "target={name: features, teacher: {name: vit_tiny_patch16_224, weights: random}}"
    assert "target.teacher: has no effect" in refusal(lambda: legal_trials(study(taught, tokens)))


def test_no_store_is_refused_where_it_is_named(tmp_path, study):
    tokens = f"data.tokens={tmp_path / 'nowhere'}"
    found = refusal(lambda: legal_trials(study(TOKENS, tokens)))
    assert "no sidecar.json, so this is no token store, or one that is not finished" in found
    found = refusal(
        lambda: legal_trials(study("target={name: tokens, stored: {label: a, width: 3}}"))
    )
    assert "target.stored: is found in a token store, and none is named: data.tokens" in found
    found = refusal(lambda: study(f"data.sidecars={{tokens: {tmp_path}}}"))
    assert "a token store is named by data.tokens, not among the sidecars" in found


def truncate(place: Path) -> None:
    shard = next(place.glob("train-*.parquet"))
    os.truncate(shard, shard.stat().st_size // 2)


def other_images(place: Path) -> None:
    content = json.loads((place / "sidecar.json").read_text())
    (place / "sidecar.json").write_text(json.dumps(content | {"images": "0" * 64}))


def change_codebook(place: Path) -> None:
    weights = place / "encoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def other_renderer(place: Path) -> None:
    content = json.loads((place / "sidecar.json").read_text())
    content["views"]["renderer"] = "render 0, opencv 3.0"
    (place / "sidecar.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (other_images, "made for the images with fingerprint 0000000000000000…, but that of"),
        (lambda place: next(place.glob("train-*")).unlink(), "train-00000-of-0000"),
        (truncate, "train-00000-of-0000"),
        (change_codebook, "another codebook under old codes; encode it again"),
        (
            other_renderer,
            f"the pixels of render 0, opencv 3.0, and here they are those of {renderer()}",
        ),
    ],
    ids=["other-images", "missing-shard", "truncated-shard", "changed-codebook", "other-renderer"],
)
def test_what_lies_in_the_folder_is_held_against_the_images(
    digits, write_store, views_of, study, harm, reason
):
    place = write_store(digits, views=views_of())
    changes = [TOKENS, f"data.tokens={place}", "data.splits.probe_test=train", "probes=[]"]
    plan_study(study(*changes))
    harm(place)
    found = refusal(lambda: plan_study(study(*changes)))
    assert reason in found and f"data.tokens: {place}" in found


def test_what_a_store_holds_is_part_of_a_trial_and_where_it_lies_is_not(
    tmp_path, digits, write_store, views_of, study, create_study
):
    one = write_store(digits, name="one", views=views_of())
    other = write_store(digits, name="other", views=views_of(seed=3))
    ids = {place: planned_id(study(TOKENS, f"data.tokens={place}")) for place in (one, other)}
    assert len(set(ids.values())) == 2
    moved = one.rename(tmp_path / "moved")
    assert planned_id(study(TOKENS, f"data.tokens={moved}")) == ids[one]
    axis = f"sweep.axes={{data.tokens: [{moved}, {other}]}}"
    planned = plan_study(study(TOKENS, axis))
    assert [trial.id for trial in planned.trials] == list(ids.values())
    created = create_study(tmp_path / "tiny.yaml", SIMMIM, TOKENS, f"data.tokens={moved}")
    (record,) = reopen(created.submission).trials
    spec = trial_spec(record.resolved)
    assert spec.data.tokens == str(moved) and spec.model_dump()["target"]["vocabulary"] == 65_521


def planned_id(loaded) -> str:
    return plan_study(loaded).trials[0].id
