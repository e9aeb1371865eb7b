"""`backbone.init`: found once, known by its content, and refused before anything is written."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

import mimlab
import mimlab_objectives
from mimlab.errors import UserError
from mimlab.export.folder import write_folder
from mimlab.search.submission import plan_study, unfinished
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec
from mimlab.storage.weights import keep_weights, read_weights, weights_path
from mimlab.train.build import build_objective
from mimlab.train.export import load_encoder

_ROOTS = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]


@pytest.fixture
def source(exported: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A trial with an export, which also lies in the working folder as `encoder`."""
    monkeypatch.chdir(tmp_path)
    made = exported([24])
    write_folder(made.trial, made.card, tmp_path / "encoder")
    return made


def weights_of(source) -> dict[str, torch.Tensor]:
    return dict(load_encoder(source.trial, source.card).state_dict())


def test_the_same_weights_make_the_same_trial_wherever_they_lie(
    source, create_tiny: Callable, tmp_path: Path
) -> None:
    weights = weights_of(source)
    torch.save(weights, "plain.pth")
    torch.save({"model": weights}, "nested.pth")
    inside = source.trial.store.scratch(source.trial.file("exports/step_000000024"))
    trial = f"trial:{source.trial.id}"
    places = ["encoder", "encoder/model.safetensors", "plain.pth", "nested.pth", inside]
    made = [
        create_tiny(tmp_path, f"backbone.init={init}") for init in [*places, trial, f"{trial}@24"]
    ]
    (reference,) = {each.spec["backbone"]["init"] for each in made}
    assert len({each.trial.id for each in made}) == 1
    assert made[0].trial.id != source.trial.id
    kept = read_weights(source.trial.store, reference.removeprefix("sha256:"))
    assert reference == f"sha256:{hashlib.sha256(kept).hexdigest()}"
    found = safetensors.torch.load(kept)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_other_weights_make_another_trial_and_another_submission(
    source, create_tiny: Callable, tmp_path: Path
) -> None:
    made = create_tiny(tmp_path, "backbone.init=encoder")
    store = source.trial.store
    loaded = load_study("tiny.yaml", None, ["backbone.init=encoder"])
    found = unfinished(store, plan_study(loaded))
    assert found is not None and found.id == made.submission.id
    weights = weights_of(source)
    weights["norm.bias"] = weights["norm.bias"] + 1
    safetensors.torch.save_file(weights, "encoder/model.safetensors")
    changed = plan_study(loaded)
    assert changed.trials[0].id != made.trial.id
    assert unfinished(store, changed) is None


def test_an_axis_over_it(source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path("tiny.yaml").read_text()
    (tmp_path / "axis.yaml").write_text(
        text + "sweep: {axes: {backbone.init: [null, encoder, ./encoder/model.safetensors]}}\n"
    )
    monkeypatch.chdir("/")  # what the file names is relative to the file
    planned = plan_study(load_study(tmp_path / "axis.yaml"))
    random, folder, file = planned.trials
    assert random.id == source.trial.id  # null changes nothing
    assert folder.id == file.id != random.id
    assert folder.point == {"backbone.init": "encoder"}
    assert folder.identity["backbone.init"].startswith("sha256:")


def test_the_untrained_baseline_stays_random(source, create_tiny: Callable, tmp_path: Path) -> None:
    made = create_tiny(tmp_path, "backbone.init=encoder")
    plain = build_objective(trial_spec(source.order.spec)).state_dict()
    started = build_objective(trial_spec(made.spec)).state_dict()
    assert all(torch.equal(plain[name], started[name]) for name in plain)


def refusal(*changes: str) -> str:
    with pytest.raises(UserError) as caught:
        plan_study(load_study("tiny.yaml", None, list(changes)))
    return str(caught.value)


def test_what_cannot_be_found_or_does_not_fit_is_one_line(source, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "cut.safetensors").write_bytes(
        (tmp_path / "encoder/model.safetensors").read_bytes()[:-7]
    )
    (tmp_path / "empty").mkdir()
    torch.save({"step": 3, "model": {"a": 1}}, "numbers.pth")
    torch.save({"encoder": torch.zeros(2)}, "other.pth")
    told = {
        "nothing.pth": "there is no file",
        "": "holds no model.safetensors or encoder.safetensors",
        "empty": "holds no model.safetensors or encoder.safetensors",
        "text.pth": "text.pth cannot be read as weights",
        "cut.safetensors": "cut.safetensors cannot be read as weights",
        "numbers.pth": "holds no state_dict",
        "other.pth": "have encoder, which it does not know",
        "trial:nothing": "there is no trial 'nothing'",
        "trial:": "a trial is named `trial:<id>` or `trial:<id>@<step>`",
        f"trial:{source.trial.id}@x": "a trial is named `trial:<id>` or `trial:<id>@<step>`",
        f"trial:{source.trial.id}@23": "step 23 was not exported; these were: 24",
        "sha256:12": "keeps no weights sha256:12",
    }
    for init, words in told.items():
        said = refusal(f"backbone.init={init!r}")
        assert said.startswith("--set backbone.init="), said
        assert "backbone.init: " in said and words in said and said.count("\n") == 0
    assert not source.trial.store.exists("weights")


def test_other_sizes_are_refused(source) -> None:
    said = refusal("backbone.init=encoder", "backbone.depth=3")
    assert "they lack blocks.2.attn.proj.bias, " in said
    said = refusal("backbone.init=encoder", "backbone.embed_dim=48", "backbone.num_heads=3")
    assert "these weights have other shapes: cls_token is 1 × 1 × 32 instead of 1 × 1 × 48" in said


def test_stored_weights_are_checked(tmp_path: Path, source) -> None:
    store = source.trial.store
    keep_weights(store, b"weights")
    name = hashlib.sha256(b"weights").hexdigest()
    assert read_weights(store, name) == b"weights"
    store.scratch(weights_path(name)).write_bytes(b"other")
    with pytest.raises(ValueError, match="its content has changed"):
        read_weights(store, name)


PLAN = """
import sys
from mimlab.errors import UserError
from mimlab.search.submission import plan_study
from mimlab.spec.load import load_study
try:
    planned = plan_study(load_study("timm.yaml"))
except UserError as error:
    sys.exit(f"error: {error}")
sys.stdout.buffer.write(planned.weights[0])
"""


@pytest.mark.slow
def test_timm_s_own_weights_come_from_its_cache_or_say_how(
    create_tiny: Callable, tmp_path: Path
) -> None:
    """In a process of its own: the hub reads its settings once."""
    create_tiny(tmp_path)
    text = (tmp_path / "tiny.yaml").read_text()
    sizes = "{name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2, "
    timm_study = text.replace(sizes, "{name: vit_tiny_patch16_224, init: timm, ").replace(
        "image_size: 16", "image_size: 32"
    )
    assert timm_study != text
    (tmp_path / "timm.yaml").write_text(timm_study)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(_ROOTS),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
    }

    def planned() -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", PLAN]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)

    refused = planned()
    assert refused.returncode == 1
    assert b"timm.yaml:" in refused.stderr and b"backbone.init: timm's weights" in refused.stderr
    assert b"name a file" in refused.stderr and b"Traceback" not in refused.stderr

    model = timm.create_model("vit_tiny_patch16_224")
    cached = tmp_path / "cache/models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).mkdir(parents=True)
    safetensors.torch.save_file(
        model.state_dict(), cached / "snapshots" / ("0" * 40) / "model.safetensors"
    )
    found = planned()
    assert found.returncode == 0, found.stderr
    weights = safetensors.torch.load(found.stdout)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
