"""A trial on one worker and on two: the same batches, the same curve, the same ends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from mimlab.storage import control, lease
from mimlab.storage.control import Outcome, StopRequest, read_outcome
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.train.checkpoint import read_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.worker import train_on_worker
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.teachers.weights import file_sha256

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_local"),
    # Ray Train leaves its log files to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

# Drop path differs between ranks; without it only the order of floating-point sums does.
KEPT = ("backbone.drop_path=0.0", "train.checkpoint.keep_last=9")


class Trials:
    """Trials of the tiny study in one folder, trained by real Ray Train workers."""

    def __init__(self, folder: Path, create_tiny: Callable[..., Any]) -> None:
        self._folder = folder
        self._create = create_tiny
        self._names = itertools.count()

    def create(self, *changes: str) -> tuple[TrialFolder, dict]:
        """A new trial and what its workers are told."""
        folder = self._folder / f"study{next(self._names)}"
        folder.mkdir()
        made = self._create(folder, *changes)
        held = lease.acquire(made.submission)
        lease.claim(made.trial, made.submission)
        return made.trial, made.worker(held.fence, cpus=0.5).model_dump(mode="json")

    def fit(
        self,
        trial: TrialFolder,
        told: dict,
        *,
        workers: int,
        loop: Callable[[dict], None] = train_on_worker,
    ) -> Outcome:
        """Train until the workers end."""
        TorchTrainer(
            loop,
            train_loop_config=told,
            scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.5}),
            run_config=RunConfig(
                name=f"fit{next(self._names)}",
                storage_path=str(self._folder / "ray"),
                failure_config=FailureConfig(max_failures=1),
            ),
        ).fit()
        outcome = read_outcome(trial)
        assert outcome is not None
        return outcome


@pytest.fixture(scope="module")
def trials(tmp_path_factory, create_tiny) -> Trials:
    return Trials(tmp_path_factory.mktemp("workers"), create_tiny)


@pytest.fixture(scope="module")
def trained(ray_local: None, trials: Trials) -> Iterator[dict[int, tuple[TrialFolder, dict]]]:
    """The same trial from beginning to end, by one worker and by two."""
    made = {}
    for workers in (1, 2):
        trial, told = trials.create(*KEPT)
        assert trials.fit(trial, told, workers=workers) == Outcome(state="finished", step=24)
        made[workers] = trial, told
    yield made


def curve(trial: TrialFolder) -> dict[int, dict[str, float]]:
    points = read_points(trial.store, trial.file("journal"))
    assert [p.seq for p in points] == list(range(1, len(points) + 1))
    found = {p.step: {k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS} for p in points}
    assert len(found) == len(points)
    return found


def hashes(trial: TrialFolder) -> dict[int, str]:
    """The next batch at each checkpoint."""
    found = {step: read_checkpoint(trial, step) for step in trial.steps("checkpoints")}
    return {step: pair[1].next_batch_hash for step, pair in found.items() if pair}


def events(trial: TrialFolder, event: str) -> list[dict]:
    lines = trial.store.read(trial.file("log.jsonl")).splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


FLOATING = ("train/loss", "train/grad_norm")
"""Sums over images, whose order depends on the number of workers; everything else is exact."""


def assert_same_curve(one: TrialFolder, other: TrialFolder) -> None:
    first, second = curve(one), curve(other)
    assert list(first) == list(second) == [5, 10, 15, 20, 24]
    for step, point in first.items():
        exact = {k: v for k, v in point.items() if k not in FLOATING}
        assert {k: v for k, v in second[step].items() if k not in FLOATING} == exact
        for key in FLOATING:
            assert second[step][key] == pytest.approx(point[key], rel=1e-4 if step < 10 else 5e-3)


def test_two_workers_draw_the_curve_of_one(trained) -> None:
    (one, _), (two, _) = trained[1], trained[2]
    assert [line["world"] for line in events(two, "training")] == [2, 2]
    assert {line["rank"] for line in events(two, "training")} == {0, 1}
    assert_same_curve(one, two)
    assert curve(two)[24]["train/images"] == 2400
    assert curve(two)[24]["train/visible_tokens"] == 2400 * 4


def test_two_workers_read_the_batches_of_one(trained) -> None:
    (one, _), (two, _) = trained[1], trained[2]
    assert len(hashes(one)) >= 3
    assert hashes(one) == hashes(two)
    assert len(set(hashes(one).values())) == len(hashes(one))


def test_a_trial_goes_on_with_any_number_of_workers(trained, trials: Trials) -> None:
    trial, told = trials.create(*KEPT)
    stopped_at, numbers = [0], (1, 2, 4, 1)
    for workers in numbers[:-1]:
        control.request_stop(trial, StopRequest(state="stopped", reason="to move"))
        stopped = trials.fit(trial, told, workers=workers)
        assert stopped.state == "stopped"
        assert stopped_at[-1] < stopped.step < 24
        stopped_at.append(stopped.step)
        control.clear(trial)
    assert trials.fit(trial, told, workers=numbers[-1]) == Outcome(state="finished", step=24)
    said = "the samples are the same, floating-point sums are not"
    moves = [f"workers {one} → {other}: {said}" for one, other in itertools.pairwise(numbers)]
    resumes = events(trial, "resumed")
    assert [resumed["step"] for resumed in resumes] == stopped_at[1:]
    for resumed, move in zip(resumes, moves, strict=True):
        assert resumed["same_next_batch"] is True
        assert resumed["exact"] is False
        assert resumed["differs"] == [move]
    assert trial.status().differs == moves
    worlds = [line["world"] for line in events(trial, "training")]
    assert worlds == [number for number in numbers for _ in range(number)]
    assert_same_curve(trained[1][0], trial)


def test_a_stop_ends_both_workers_at_the_same_step(trials: Trials) -> None:
    trial, told = trials.create(*KEPT)
    control.request_stop(trial, StopRequest(state="pruned", reason="behind at epoch 5"))
    outcome = trials.fit(trial, told, workers=2)
    # Several workers agree where they log, every 5 steps.
    assert outcome == Outcome(state="pruned", reason="behind at epoch 5", step=5)
    assert trial.steps("checkpoints")[-1] == 5
    assert len(events(trial, "training")) == 2
    assert events(trial, "error") == []


def test_the_parts_of_a_long_plan_reach_both_workers(trained, trials: Trials) -> None:
    def in_many_parts(config: dict) -> None:
        from mimlab.data import segments

        segments.MAX_TASKS = 1
        train_on_worker(config)

    trial, told = trials.create(*KEPT)
    outcome = trials.fit(trial, told, workers=2, loop=in_many_parts)
    assert outcome == Outcome(state="finished", step=24)
    assert_same_curve(trained[1][0], trial)


def test_diverging_ends_both_workers(trials: Trials) -> None:
    # Found by rank 0 alone, where it is about to save, while rank 1 waits for it in the next step.
    trial, told = trials.create(
        "train.optimizer.base_lr=1.0e+30", "train.log_every=24", "train.checkpoint.every_epochs=0.3"
    )
    outcome = trials.fit(trial, told, workers=2)
    assert outcome.state == "diverged"
    assert len(events(trial, "training")) == 2
    assert trial.steps("checkpoints") == []


def test_a_teacher_whose_file_was_replaced_ends_the_trial_at_once(
    trials: Trials, tmp_path: Path
) -> None:
    file = tmp_path / "teacher.safetensors"
    sizes = {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
    params = BackboneParams.model_validate({"name": "vit_tiny_patch16_224", **sizes})
    weights = VitBackbone(params, 16).vit.state_dict()
    safetensors.torch.save_file(weights, file)
    submitted = file_sha256(file)
    teacher = json.dumps({"name": params.name, "weights": str(file), **sizes})
    trial, told = trials.create(f"target={{name: features, teacher: {teacher}}}")
    safetensors.torch.save_file(weights | {"norm.bias": weights["norm.bias"] + 1}, file)
    outcome = trials.fit(trial, told, workers=1)
    assert outcome.state == "failed"
    assert f"{file} is another file than the study was submitted with" in outcome.reason
    assert submitted in outcome.reason and file_sha256(file) in outcome.reason
    assert not trial.store.exists(trial.file("log.jsonl"))  # neither a traceback nor a second try
