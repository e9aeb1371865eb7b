"""A teacher's file of weights: found once, known by its content, refused where it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from mimlab.errors import UserError
from mimlab.search.submission import plan_study, reopen, unfinished
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec
from mimlab.train.build import build_objective
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.weights import file_sha256

SIZES = "patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2"
NETWORK = "name: vit_tiny_patch16_224"
LATENT = "target={name: latent}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a teacher in `teacher.safetensors`."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "teacher.safetensors")
    return tmp_path


def write(path: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=0, **sizes)
    safetensors.torch.save_file(model.state_dict(), path)


def teacher(file: str = "teacher.safetensors") -> str:
    return f"{{{NETWORK}, weights: {file}, {SIZES}}}"


STUDIES = {
    "features": lambda file: (f"target={{name: features, teacher: {teacher(file)}}}",),
    "tokens": lambda file: (f"target={{name: tokens, vocabulary: 8, teacher: {teacher(file)}}}",),
    "maskalign": lambda file: (
        f"objective={{name: maskalign, top_layers: 2, teacher: {teacher(file)}}}",
        LATENT,
    ),
}
"""Name → changes of the tiny study, given a file."""


@pytest.mark.parametrize("name", STUDIES)
def test_the_content_of_a_file_makes_the_trial_and_its_place_does_not(
    name: str, folder: Path, create_tiny: Callable
) -> None:
    made = create_tiny(folder, *STUDIES[name]("teacher.safetensors"))
    record = made.submission.trial_records()[0]
    sha256 = file_sha256(folder / "teacher.safetensors")
    section = "objective" if name == "maskalign" else "target"
    assert made.spec[section]["teacher"]["weights"] == str(folder / "teacher.safetensors")
    assert record.identity[f"{section}.teacher.sha256"] == sha256
    assert record.identity[f"{section}.teacher.weights"] == "file"
    (folder / "elsewhere").mkdir()
    moved = (folder / "teacher.safetensors").rename(folder / "elsewhere/moved.safetensors")
    again = create_tiny(folder, *STUDIES[name]("elsewhere/moved.safetensors"))
    assert again.trial.id == made.trial.id
    write(moved, seed=1)
    other = create_tiny(folder, *STUDIES[name]("elsewhere/moved.safetensors"))
    assert other.trial.id != made.trial.id


def test_a_replaced_file_is_another_submission_and_the_worker_of_the_first_refuses_it(
    folder: Path, create_tiny: Callable
) -> None:
    changes = STUDIES["features"]("teacher.safetensors")
    made = create_tiny(folder, *changes)
    spec, before = trial_spec(made.spec), file_sha256(folder / "teacher.safetensors")
    build_objective(spec)
    store = made.trial.store
    loaded = load_study("tiny.yaml", None, changes)
    found = unfinished(store, plan_study(loaded))
    assert found is not None and found.id == made.submission.id
    write(folder / "teacher.safetensors", seed=1)
    assert unfinished(store, plan_study(load_study("tiny.yaml", None, changes))) is None
    assert [trial.id for trial in reopen(made.submission).trials] == [made.trial.id]
    with pytest.raises(ParamsError, match="another file than the study was submitted with") as told:
        build_objective(spec)
    assert before in str(told.value)
    assert file_sha256(folder / "teacher.safetensors") in str(told.value)


def test_a_path_is_taken_from_the_study_and_one_of_the_shell_from_its_folder(
    folder: Path, tiny_study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tiny_study.replace(
        "target: {name: pixels}", f"target: {{name: features, teacher: {teacher()}}}"
    )
    assert text != tiny_study
    (folder / "teach.yaml").write_text(text)
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    [one] = plan_study(load_study("../teach.yaml")).trials
    over = ["target.teacher.weights=../teacher.safetensors"]
    [other] = plan_study(load_study("../teach.yaml", None, over)).trials
    assert one.id == other.id
    [chance] = plan_study(
        load_study("../teach.yaml", None, ["target.teacher.weights=random"])
    ).trials
    assert chance.id != one.id
    axis = "sweep.axes={target.teacher.weights: [random, teacher.safetensors]}"
    planned = plan_study(load_study("../teach.yaml", None, [axis]))
    assert [trial.id for trial in planned.trials] == [chance.id, one.id]


def refusal(*changes: str) -> str:
    with pytest.raises(UserError) as caught:
        plan_study(load_study("tiny.yaml", None, list(changes)))
    [line] = str(caught.value).splitlines()
    return line


def test_what_cannot_teach_is_one_line(folder: Path, create_tiny: Callable) -> None:
    create_tiny(folder)
    (folder / "text.safetensors").write_text("no weights")
    weights = "target.teacher.weights"
    for file, words in {
        "nothing.safetensors": "there is no file",
        "text.safetensors": "cannot be read as safetensors",
    }.items():
        said = refusal(*STUDIES["features"](file))
        assert f"{weights}: " in said and words in said
    pinned = teacher().replace(SIZES, f"{SIZES}, sha256: '{'0' * 64}'")
    said = refusal(f"target={{name: features, teacher: {pinned}}}")
    assert "another file than the study was submitted with" in said and "0" * 64 in said
    said = refusal(f"target={{name: features, teacher: {{{NETWORK}}}}}")
    assert f"{weights}: is missing and has no default: `random`" in said
    said = refusal(f"target={{name: features, teacher: {{{NETWORK}, weights: timm, depth: 3}}}}")
    assert f"{weights}: timm's have sizes of their own: leave depth out" in said
    said = refusal("target={name: features, teacher: {name: vit_tinny, weights: random}}")
    assert "target.teacher.name: timm knows no model 'vit_tinny'" in said


def test_a_masking_that_needs_attention_needs_a_teacher_that_has_it(
    folder: Path, create_tiny: Callable
) -> None:
    resnet = "{name: resnet18, weights: random, layer: 1}"
    objective = f"objective={{name: maskalign, teacher: {resnet}, top_layers: 1}}"
    said = refusal_of_attentive(folder, create_tiny, objective)
    assert (
        "masking.name: attentive needs teacher_attention, which maskalign does not supply" in said
    )
    create_tiny(folder, objective, LATENT, "masking={name: random, ratio: 0.5}")


def refusal_of_attentive(folder: Path, create_tiny: Callable, objective: str) -> str:
    create_tiny(folder)
    return refusal(objective, LATENT, "masking={name: attentive, ratio: 0.5}")
