"""ASHA's decisions become requests; nothing is killed and nobody is judged twice."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from mimlab.search.stopping import EPOCH, AskingScheduler, scheduler_of
from mimlab.spec.sweep import Asha
from mimlab.storage.records import ProbeRecord

KNN = "probe/knn/top1"


def asha(**changes: Any) -> Asha:
    base = {"name": "asha", "metric": KNN, "grace_epochs": 5.0, "reduction_factor": 2.0}
    return Asha.model_validate(base | changes)


@pytest.fixture
def asked() -> list[tuple[str, str]]:
    return []


def asking(asked: list, past: dict | None = None) -> TrialScheduler:
    return scheduler_of(
        asha(),
        max_epochs=40.0,
        ask_to_stop=lambda *ask: asked.append(ask),
        past=past or {},
    )


@pytest.fixture
def scheduler(asked) -> AskingScheduler:
    found = asking(asked)
    assert isinstance(found, AskingScheduler)
    return found


def trials(scheduler: TrialScheduler, count: int) -> list[Trial]:
    configs = [{"trial": {"trial_id": f"t{i}"}} for i in range(count)]
    made = [Trial("run_trial", config=config, stub=True) for config in configs]
    for trial in made:
        scheduler.on_trial_add(None, trial)  # pyright: ignore[reportArgumentType]
    return made


def result(epoch: float, score: float) -> dict:
    return {EPOCH: epoch, KNN: score}


def test_a_trial_that_is_behind_at_a_rung_is_asked_and_never_killed(scheduler, asked) -> None:
    good, bad = trials(scheduler, 2)
    assert scheduler.on_trial_result(None, good, result(5.0, 0.9)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, bad, result(5.0, 0.1)) == TrialScheduler.CONTINUE
    assert [trial_id for trial_id, _ in asked] == ["t1"]
    assert asked[0][1] == "probe/knn/top1 0.1000 at epoch 5"


def test_a_trial_is_asked_once(scheduler, asked) -> None:
    good, bad = trials(scheduler, 2)
    scheduler.on_trial_result(None, good, result(5.0, 0.9))
    for epoch in (5.0, 10.0, 20.0):
        scheduler.on_trial_result(None, bad, result(epoch, 0.1))
    assert len(asked) == 1


def test_results_before_the_first_rung_decide_nothing(scheduler, asked) -> None:
    good, bad = trials(scheduler, 2)
    scheduler.on_trial_result(None, good, result(4.9, 0.9))
    scheduler.on_trial_result(None, bad, result(4.9, 0.1))
    assert asked == []


def test_a_result_of_another_probe_is_no_judgement(scheduler, asked) -> None:
    good, bad = trials(scheduler, 2)
    scheduler.on_trial_result(None, good, result(5.0, 0.9))
    scheduler.on_trial_result(None, bad, {EPOCH: 5.0, "probe/linear/top1": 0.1})
    assert asked == []


def test_recorded_results_rebuild_the_rungs_after_a_restart(asked) -> None:
    """A new scheduler that is told the old results first decides as the old one would have."""
    found = asking(asked)
    before, late = trials(found, 2)
    for epoch, score in ((5.0, 0.8), (10.0, 0.9)):
        found.on_trial_result(None, before, result(epoch, score))  # pyright: ignore[reportArgumentType]
    found.on_trial_result(None, late, result(5.0, 0.2))  # pyright: ignore[reportArgumentType]
    assert [trial_id for trial_id, _ in asked] == ["t1"]


def test_trials_that_ended_before_still_fill_the_rungs(asked) -> None:
    record = ProbeRecord(
        probe="knn",
        protocol="knn/1",
        settings={},
        step=1,
        epoch=5.0,
        metrics={KNN: 0.9},
        encoder_hash="",
        data_fingerprint="",
        num_fit=1,
        num_test=1,
        seconds=0.0,
        time_ms=0,
    )
    found = asking(asked, past={"finished": [record]})
    (late,) = trials(found, 1)
    found.on_trial_result(None, late, result(5.0, 0.2))  # pyright: ignore[reportArgumentType]
    assert [trial_id for trial_id, _ in asked] == ["t0"]


def test_without_stopping_every_trial_runs_to_its_end() -> None:
    found = scheduler_of(None, max_epochs=1.0, ask_to_stop=lambda *_: None, past={})
    assert isinstance(found, FIFOScheduler)
