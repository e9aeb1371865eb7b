"""A trial starts from the weights that it names, and needs them no more once it has begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mimlab.errors import TrialError
from mimlab.storage.weights import weights_path
from mimlab.train.session import Session
from mimlab.train.stepper import Stepper
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone

Build = Callable[..., Session]
SIZES = {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Random weights of the tiny study's encoder, in `start.safetensors`."""
    monkeypatch.chdir(tmp_path)
    vit = VitBackbone(
        BackboneParams.model_validate({"name": "vit_tiny_patch16_224"} | SIZES), 16
    ).vit
    made = {name: torch.rand_like(weight) for name, weight in vit.state_dict().items()}
    safetensors.torch.save_file(made, "start.safetensors")
    return made


def before_the_first_step(session: Session, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The objective as its first step finds it."""
    found = {}

    def end(self, batch, plan, progress, **rest):
        assert progress.step == 0
        found.update({n: w.clone() for n, w in session.objective.state_dict().items()})
        raise OSError("seen enough")

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "step", end)
        with pytest.raises(OSError, match="seen enough"):
            session.run()
    return found


@pytest.mark.parametrize("objective", ["mae", "simmim"])
def test_the_first_step_sees_the_file_s_weights_bit_for_bit(
    session_of: Build,
    weights: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
) -> None:
    changes = [f"objective.name={objective}"]
    plain = before_the_first_step(session_of(*changes), monkeypatch)
    session = session_of(*changes, "backbone.init=start.safetensors")
    found = before_the_first_step(session, monkeypatch)
    for name, value in found.items():
        own = weights.get(name.removeprefix("backbone.vit."))
        # Only the encoder starts from it: the rest is drawn as it would have been.
        assert torch.equal(value, plain[name] if own is None else own), name
    lines = session.trial.store.read(session.trial.file("log.jsonl")).splitlines()
    (event,) = [e for e in map(json.loads, lines) if e["event"] == "started from weights"]
    assert event["positions"] == "same"


def test_it_trains_and_a_resume_needs_neither_the_file_nor_its_copy(
    session_of: Build, weights: dict[str, torch.Tensor]
) -> None:
    session = session_of("backbone.init=start.safetensors")
    assert session.run().state == "finished"
    trial, store = session.trial, session.trial.store
    last = store.read(trial.file("exports/step_000000024/encoder.safetensors"))
    trained = safetensors.torch.load(last)
    assert not torch.equal(trained["norm.weight"], weights["norm.weight"])
    store.remove(trial.file("checkpoints/step_000000024"))
    store.remove("weights")
    again = Session(session.config, trial, session.place, session.device)
    assert again.run().state == "finished"
    assert store.read(trial.file("exports/step_000000024/encoder.safetensors")) == last


def test_weights_that_were_lost_or_changed_fail_the_trial(
    session_of: Build, weights: dict[str, torch.Tensor]
) -> None:
    session = session_of("backbone.init=start.safetensors")
    init = session.spec.backbone.init
    assert init is not None
    path = session.trial.store.scratch(weights_path(init.removeprefix("sha256:")))
    path.write_bytes(b"other")
    with pytest.raises(TrialError, match=r"the weights to start from are lost: .* has changed"):
        session.run()
    path.unlink()
    with pytest.raises(TrialError, match="the weights to start from are lost"):
        session.run()


def test_positions_of_another_grid_are_said_to_be_resampled(
    session_of: Build, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of("backbone.init=start.safetensors", "data.image_size=24")
    found = before_the_first_step(session, monkeypatch)
    assert found["backbone.vit.pos_embed"].shape == (1, 37, 32)
    log = session.trial.store.read(session.trial.file("log.jsonl"))
    assert "positions resampled from 4 × 4 to 6 × 6 patches" in [
        json.loads(line).get("positions") for line in log.splitlines()
    ]
