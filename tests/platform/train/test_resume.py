"""A trial that was interrupted ends exactly where an undisturbed one does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import timm
import torch
from timm.models import VisionTransformer

from mimlab.errors import TrialError
from mimlab.storage import control, lease
from mimlab.storage.control import StopRequest
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import CheckpointManifest, LeaseRecord
from mimlab.storage.seal import sealed, unsealed
from mimlab.train.checkpoint import manifest_path, newest_checkpoint, read_checkpoint
from mimlab.train.conditions import SUMS
from mimlab.train.divergence import divergences
from mimlab.train.export import load_encoder, read_card
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.session import Session
from mimlab.train.stepper import Stepper

Build = Callable[..., Session]


def final_state(trial: TrialFolder) -> dict[str, torch.Tensor]:
    found = newest_checkpoint(trial, on_unusable=lambda step: pytest.fail(f"step {step}"))
    assert found is not None
    state, manifest = found
    assert manifest.step == 24
    moments = state.optimizer["state"]
    tensors = {f"{i}.{k}": v for i, s in moments.items() for k, v in s.items()}
    return dict(state.objective) | tensors


def curve(trial: TrialFolder) -> list[tuple[int, dict[str, float]]]:
    """The points without what depends on the clock."""
    points = read_points(trial.store, trial.file("journal"))
    return [
        (p.step, {k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS}) for p in points
    ]


def events(trial: TrialFolder, event: str) -> list[dict]:
    lines = trial.store.read(trial.file("log.jsonl")).splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


@pytest.fixture
def undisturbed(session_of: Build) -> TrialFolder:
    session = session_of()
    assert session.run().state == "finished"
    return session.trial


def test_losing_everything_since_a_checkpoint_changes_no_bit(
    undisturbed: TrialFolder, session_of: Build
) -> None:
    weights, points = final_state(undisturbed), curve(undisturbed)
    for step in undisturbed.steps("checkpoints"):
        # As a kill between two checkpoints leaves it: the journal is ahead of the checkpoint.
        if step > 15:
            undisturbed.store.remove(undisturbed.file(f"checkpoints/step_{step:09d}"))
    session = session_of("train.checkpoint.keep_last=9")
    first = session.run()
    assert first.state == "finished"
    again = final_state(undisturbed)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert curve(undisturbed) == points


def forget(trial: TrialFolder) -> None:
    """Leave the trial as it was before it first ran."""
    for name in ("checkpoints", "exports", "boards", "journal", "status.json", "log.jsonl"):
        trial.store.remove(trial.file(name))


def test_a_stopped_trial_goes_on_to_the_same_bits(
    undisturbed: TrialFolder, session_of: Build
) -> None:
    weights, points = final_state(undisturbed), curve(undisturbed)
    forget(undisturbed)
    control.request_stop(undisturbed, StopRequest(state="stopped", reason="enough for today"))
    outcome = session_of().run()
    assert (outcome.state, outcome.reason, outcome.step) == ("stopped", "enough for today", 1)
    control.clear(undisturbed)
    assert session_of().run().state == "finished"
    resumed = events(undisturbed, "resumed")[-1]
    assert resumed["same_next_batch"] is True and resumed["exact"] is True
    again = final_state(undisturbed)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert curve(undisturbed) == points


def test_a_paused_trial_goes_on_to_the_same_bits(
    undisturbed: TrialFolder, session_of: Build
) -> None:
    weights, points = final_state(undisturbed), curve(undisturbed)
    forget(undisturbed)
    control.request_pause(undisturbed, "goes on with 1 worker in place of 2")
    outcome = session_of().run()
    assert (outcome.state, outcome.step) == ("pending", 1)
    control.withdraw_pause(undisturbed)
    assert session_of().run().state == "finished"
    again = final_state(undisturbed)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert curve(undisturbed) == points


def test_what_differs_is_told_and_stays_told(session_of: Build) -> None:
    session = session_of()
    trial = session.trial
    control.request_stop(trial, StopRequest(state="stopped", reason="to move"))
    assert session.run().step == 1
    control.clear(trial)
    saved_on_two_workers(trial, 1)
    assert session_of().run().state == "finished"
    said = [f"workers 2 → 1: {SUMS}, nor what is dropped at random"]
    (resumed,) = events(trial, "resumed")
    assert resumed["exact"] is False and resumed["differs"] == said
    assert resumed["same_next_batch"] and resumed["masks_compared"]
    assert trial.status().differs == said
    trial.store.remove(trial.file("checkpoints/step_000000024"))
    assert session_of().run().state == "finished"
    again = events(trial, "resumed")[-1]
    assert again["exact"] is True and "differs" not in again
    found = read_checkpoint(trial, 24)
    assert found is not None and found[1].differs == trial.status().differs == said


def saved_on_two_workers(trial: TrialFolder, step: int) -> None:
    path = manifest_path(trial, step)
    manifest = unsealed(trial.store.read(path), CheckpointManifest)
    assert manifest.conditions is not None and manifest.conditions.workers == 1
    two = manifest.conditions.model_copy(update={"workers": 2})
    trial.store.write(path, sealed(manifest.model_copy(update={"conditions": two})))


@pytest.mark.parametrize("step", [0, 3, 8, 16, 23], ids=lambda step: f"in step {step}")
def test_a_trial_that_broke_off_anywhere_goes_on_to_the_same_bits(
    step: int, undisturbed: TrialFolder, session_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, points = final_state(undisturbed), curve(undisturbed)
    forget(undisturbed)
    whole = Stepper.step

    def break_off(self, batch, plan, progress, **rest):
        if progress.step == step:
            raise OSError("the machine is gone")
        return whole(self, batch, plan, progress, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "step", break_off)
        with pytest.raises(OSError, match="the machine is gone"):
            session_of().run()
    assert session_of().run().state == "finished"
    again = final_state(undisturbed)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert curve(undisturbed) == points


def test_a_torn_checkpoint_is_passed_over_for_the_one_before_it(
    undisturbed: TrialFolder, session_of: Build
) -> None:
    weights = final_state(undisturbed)
    newest = undisturbed.steps("checkpoints")[-1]
    path = undisturbed.store.scratch(undisturbed.file(f"checkpoints/step_{newest:09d}/state.pt"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert read_checkpoint(undisturbed, newest) is None
    assert session_of().run().state == "finished"
    assert events(undisturbed, "checkpoint unusable")[-1]["step"] == newest
    again = final_state(undisturbed)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_finished_trial_runs_no_step_again(undisturbed: TrialFolder, session_of: Build) -> None:
    before = curve(undisturbed)
    trained = len(events(undisturbed, "training"))
    assert session_of().run().state == "finished"
    assert len(events(undisturbed, "training")) == trained
    assert curve(undisturbed) == before


def test_retention_keeps_the_newest(undisturbed: TrialFolder) -> None:
    assert len(undisturbed.steps("checkpoints")) == 2
    assert undisturbed.steps("checkpoints")[-1] == 24


def test_an_export_is_what_plain_timm_loads(undisturbed: TrialFolder) -> None:
    card = read_card(undisturbed, 24)
    assert card is not None
    model = timm.create_model(
        "vit_tiny_patch16_224",
        patch_size=4,
        embed_dim=32,
        depth=2,
        num_heads=2,
        img_size=16,
        num_classes=0,
        checkpoint_path=str(
            undisturbed.store.scratch(
                undisturbed.file("exports/step_000000024/encoder.safetensors")
            )
        ),
    ).eval()
    assert isinstance(model, VisionTransformer)
    images = torch.randn(3, 3, 16, 16)
    ours = load_encoder(undisturbed, card)
    assert torch.equal(ours.forward_features(images), model.forward_features(images))


def test_whoever_lost_the_lease_commits_nothing(session_of: Build) -> None:
    session = session_of()
    record = LeaseRecord(fence=2, host="other", machine="another", pid=1, process_born=0, counter=0)
    path = f"submissions/{session.config.submission_id}/lease/000002.json"
    session.trial.store.write_record(path, record)
    with pytest.raises(lease.LeaseLost):
        session.run()
    assert session.trial.steps("checkpoints") == []


def test_a_worker_that_outlived_its_attempt_writes_no_point(session_of: Build) -> None:
    session = session_of()
    trial, config = session.trial, session.config
    lease.begin_attempt(trial, config.submission_id, config.attempt + 1)
    with pytest.raises(lease.LeaseLost):
        session.run()
    assert trial.steps("checkpoints") == []
    assert read_points(trial.store, trial.file("journal")) == []


def test_boards_and_exports_exist_at_every_probe(undisturbed: TrialFolder) -> None:
    steps = undisturbed.steps("exports")
    assert steps == [9, 18, 24]  # every 0.6 epochs of 14.38 steps, and the end
    names = undisturbed.store.list(undisturbed.file("boards"))
    assert names == [f"{step:09d}.png" for step in steps]


def test_diverging_is_an_outcome_that_names_the_step_its_samples_and_what_went_before(
    session_of: Build,
) -> None:
    session = session_of("train.optimizer.base_lr=1.0e+30")
    with pytest.raises(TrialError, match=r"loss or gradient of step \d+ is not finite") as caught:
        session.run()
    assert caught.value.state == "diverged"
    (record,) = divergences(session.trial)
    assert str(caught.value) == record.reason
    replay = f"mimlab replay {session.trial.id} --step {record.step} --storage "
    assert record.replay.startswith(replay) and record.replay in record.reason
    assert len(record.ids) == len(record.epochs) == 100
    assert set(record.not_finite) <= set(record.ids)
    rows = {row.step: row for row in record.last_steps}
    assert list(rows) == list(range(len(rows))) and max(rows) >= record.step
    bad = rows[record.step].figures
    assert not math.isfinite(bad["loss"] + bad["grad_norm"])
    before = [rows[step].figures for step in range(record.step)]
    assert all(math.isfinite(f["loss"] + f["grad_norm"]) for f in before)
    assert [row.lr for row in record.last_steps] == [session.schedule.lr(step) for step in rows]
    assert (record.scaler, record.checkpoint) == ({}, 0)
    assert session.trial.steps("checkpoints") == []
