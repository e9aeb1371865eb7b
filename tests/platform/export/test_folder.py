"""An exported folder is an encoder that plain timm loads, or it does not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.export.choice import best_encoder, encoder_at, find_trial, last_encoder
from mimlab.export.folder import write_folder
from mimlab.export.timm_folder import calls, check
from mimlab.storage.records import ProbeRecord, StatusRecord
from mimlab.storage.store import Store
from mimlab.train.export import load_encoder

FILES = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def scored(made, step: int, score: float) -> None:
    record = ProbeRecord(
        probe="knn",
        protocol="knn/1",
        settings={},
        step=step,
        epoch=step / 10,
        metrics={"probe/knn/top1": score},
        encoder_hash="",
        data_fingerprint="",
        num_fit=1438,
        num_test=359,
        seconds=1.0,
        time_ms=0,
    )
    made.trial.store.write_record(made.trial.file(f"probes/knn-{step:09d}.json"), record)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("backbone.name=vit_tiny_patch16_224.augreg_in21k",),
        ("backbone.name=deit3_small_patch16_224", "objective={name: simmim}"),
        ("backbone.name=vit_base_patch16_siglip_gap_224", "objective={name: simmim}"),
        ("backbone.name=vit_small_patch14_reg4_dinov2",),
    ],
    ids=lambda changes: changes[0].partition("=")[2] if changes else "tiny",
)
def test_timm_loads_the_folder_and_gives_the_encoder_s_features(
    exported: Callable, tmp_path: Path, images: torch.Tensor, changes: tuple[str, ...]
) -> None:
    made = exported([24], *changes)
    to = write_folder(made.trial, made.card, tmp_path / "out" / "encoder")
    assert {path.name for path in to.iterdir()} == FILES
    expected = load_encoder(made.trial, made.card).forward_features(images)
    for call in calls(to, made.card):
        model = eval(call, {"timm": timm})
        assert torch.equal(model.eval().forward_features(images), expected)
        assert call in (to / "README.md").read_text()
    assert [path.name for path in to.parent.iterdir()] == ["encoder"]


def test_an_encoder_that_timm_builds_otherwise_is_refused(
    exported: Callable, tmp_path: Path
) -> None:
    made = exported([24])
    to = write_folder(made.trial, made.card, tmp_path / "encoder")
    weights = safetensors.torch.load_file(to / "model.safetensors")
    weights["blocks.0.mlp.fc1.bias"][0] += 1e-3
    safetensors.torch.save_file(weights, to / "model.safetensors")
    with pytest.raises(UserError, match=r"builds another encoder of these weights"):
        check(to, made.card, load_encoder(made.trial, made.card))


def test_the_card_says_what_was_done(exported: Callable, tmp_path: Path) -> None:
    made = exported([9, 24], "question=Does it load?")
    scored(made, 24, 0.625)
    scored(made, 9, 0.999)
    to = write_folder(made.trial, made.card, tmp_path / "encoder")
    text = (to / "README.md").read_text()
    for said in (
        "mae with random masking",
        f"trial `{made.trial.id}` of the\nstudy *tiny*",
        "Does it load?",
        "ratio 0.75",
        "digits, split `train`",
        made.data.fingerprint,
        "| images seen | 2,400 |",
        "| probe/knn/top1 | 0.6250 | knn/1 | 1,438 | 359 |",
        made.card.weights_sha256,
        made.submission.record().code_fingerprint,
        f"| timm | {timm.__version__} |",
        "the trial itself is pending, not finished",
        "## Licence",
    ):
        assert said in text
    assert "0.999" not in text  # of another step
    config = json.loads((to / "config.json").read_text())
    assert config["model_args"]["img_size"] == 16


def test_the_last_a_named_and_the_best_export(exported: Callable) -> None:
    made = exported([9, 18, 24])
    scored(made, 9, 0.4)
    scored(made, 18, 0.6)
    assert last_encoder(made.trial).step == 24
    assert encoder_at(made.trial, 9).step == 9
    assert best_encoder(made.trial).step == 18
    with pytest.raises(UserError, match=r"step 10 was not exported; these were: 9, 18, 24$"):
        encoder_at(made.trial, 10)


def test_none_is_best_before_a_probe(exported: Callable) -> None:
    made = exported([9, 18])
    with pytest.raises(UserError, match=r"has been probed, .* --step: 9, 18$"):
        best_encoder(made.trial)


def test_a_trial_without_an_export_says_what_it_has(exported: Callable) -> None:
    made = exported([9])
    made.trial.store.remove(made.trial.file("exports/step_000000009/encoder.json"))
    made.trial.write_status(StatusRecord(state="stopped", step=7, total_steps=24))
    for choose in (last_encoder, best_encoder, lambda trial: encoder_at(trial, 9)):
        with pytest.raises(UserError, match=r"stopped at step 7 of 24 .*mimlab resume 'tiny'"):
            choose(made.trial)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=12) | st.sampled_from(["..", ".", "", "/", "../trials"]))
def test_an_unknown_trial_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "trials" / "b0a87f9f5ab4").mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match="there is no trial"):
        find_trial(Store(tmp_path), name)


def test_a_mistyped_trial_gets_the_nearest(exported: Callable) -> None:
    made = exported([9])
    typed = made.trial.id[1:] + "x"
    with pytest.raises(UserError, match=f"the nearest are {made.trial.id}"):
        find_trial(made.trial.store, typed)
    assert find_trial(made.trial.store, made.trial.id).id == made.trial.id


def test_a_folder_that_holds_something_is_left_alone(exported: Callable, tmp_path: Path) -> None:
    made = exported([9])
    taken, file = tmp_path / "taken", tmp_path / "file"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    file.write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match="is not empty"):
        write_folder(made.trial, made.card, taken)
    with pytest.raises(UserError, match="is a file"):
        write_folder(made.trial, made.card, file)
    with pytest.raises(UserError, match="cannot be written"):
        write_folder(made.trial, made.card, file / "below")
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_damaged_export_leaves_nothing(exported: Callable, tmp_path: Path) -> None:
    made = exported([9])
    path = made.trial.store.scratch(made.trial.file("exports/step_000000009/encoder.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="export of step 9 is corrupt; export another step"):
        write_folder(made.trial, made.card, tmp_path / "encoder")
    assert not list(tmp_path.glob("*encoder*"))


def test_an_empty_folder_is_filled(exported: Callable, tmp_path: Path) -> None:
    made = exported([9])
    (tmp_path / "empty").mkdir()
    assert {path.name for path in write_folder(made.trial, made.card, tmp_path / "empty").iterdir()}
