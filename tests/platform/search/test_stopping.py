"""ASHA's decisions become requests; nothing is killed and nobody is judged twice."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from mimlab.search.stopping import EPOCH, AskingScheduler, scheduler_of
from mimlab.spec.sweep import Asha, Median
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


def recorded(epoch: float, score: float) -> ProbeRecord:
    """What the storage has of a trial that ended before."""
    return ProbeRecord(
        probe="knn",
        protocol="knn/1",
        settings={},
        step=int(epoch),
        epoch=epoch,
        metrics={KNN: score},
        encoder_hash="",
        data_fingerprint="",
        num_fit=1,
        num_test=1,
        seconds=0.0,
        time_ms=0,
    )


def test_trials_that_ended_before_still_fill_the_rungs(asked) -> None:
    found = asking(asked, past={"finished": [recorded(5.0, 0.9)]})
    (late,) = trials(found, 1)
    found.on_trial_result(None, late, result(5.0, 0.2))  # pyright: ignore[reportArgumentType]
    assert [trial_id for trial_id, _ in asked] == ["t0"]


def test_without_stopping_every_trial_runs_to_its_end() -> None:
    found = scheduler_of(None, max_epochs=1.0, ask_to_stop=lambda *_: None, past={})
    assert isinstance(found, FIFOScheduler)


def median(asked: list, past: dict | None = None, **changes: Any) -> TrialScheduler:
    base = {"name": "median", "metric": KNN, "grace_epochs": 5.0, "min_trials": 3}
    return scheduler_of(
        Median.model_validate(base | changes),
        max_epochs=40.0,
        ask_to_stop=lambda *ask: asked.append(ask),
        past=past or {},
    )


def tell(scheduler: TrialScheduler, trial: Trial, *results: tuple[float, float]) -> None:
    for epoch, score in results:
        decision = scheduler.on_trial_result(None, trial, result(epoch, score))  # pyright: ignore[reportArgumentType]
        assert decision == TrialScheduler.CONTINUE


def test_the_median_rule_asks_a_trial_whose_best_is_below_the_others_means(asked) -> None:
    """The others' means up to epoch 10 are 0.3, 0.5 and 0.7: 0.49 is below their median."""
    found = median(asked)
    *others, above, below = trials(found, 5)
    for trial, mean in zip(others, (0.3, 0.5, 0.7), strict=True):
        tell(found, trial, (5.0, mean - 0.1), (10.0, mean + 0.1))
    tell(found, above, (10.0, 0.51))
    assert asked == []
    tell(found, below, (10.0, 0.39))
    assert asked == [("t4", "probe/knn/top1 0.3900 at epoch 10")]


def test_the_median_rule_waits_for_the_grace_epochs_and_for_enough_trials(asked) -> None:
    found = median(asked)
    *others, late = trials(found, 4)
    for trial in others:
        tell(found, trial, (4.0, 0.9))
    tell(found, late, (4.0, 0.1))
    tell(found, others[0], (5.0, 0.9))
    tell(found, others[1], (5.0, 0.9))
    tell(found, late, (5.0, 0.1))
    assert asked == []


def test_the_median_rule_knows_the_trials_that_ended_before(asked) -> None:
    past = {f"p{i}": [recorded(5.0, 0.5), recorded(10.0, 0.9)] for i in range(3)}
    past["behind"] = [recorded(5.0, 0.1), recorded(10.0, 0.1)]
    found = median(asked, past)
    good, bad = trials(found, 2)
    tell(found, good, (10.0, 0.75))
    assert asked == []
    tell(found, bad, (10.0, 0.2))
    assert [trial_id for trial_id, _ in asked] == ["t1"]


def test_the_median_rule_can_prefer_the_smaller(asked) -> None:
    found = median(asked, mode="min", min_trials=1)
    low, high = trials(found, 2)
    tell(found, low, (5.0, 0.2))
    tell(found, high, (5.0, 0.4))
    assert [trial_id for trial_id, _ in asked] == ["t1"]


def test_a_trial_that_is_started_again_is_not_counted_twice(asked) -> None:
    """Its mean stays 0.5, which 0.6 is not below; with 0.9 heard again it would be 0.63."""
    found = median(asked, min_trials=1)
    again, other = trials(found, 2)
    tell(found, again, (5.0, 0.9), (5.0, 0.9), (10.0, 0.1))
    tell(found, other, (10.0, 0.6))
    assert asked == []


def at(time_ms: int, epoch: float, score: float) -> ProbeRecord:
    return recorded(epoch, score).model_copy(update={"time_ms": time_ms})


def test_a_rung_that_a_trial_has_passed_is_not_judged_again(asked) -> None:
    """It came first, to an empty rung; those that came after it are better."""
    past = {
        "better": [at(2, 5.0, 0.5)],
        "best": [at(3, 5.0, 0.6)],
        "t0": [at(1, 5.0, 0.3), at(4, 7.0, 0.35)],
    }
    found = restarted(asked, past, "t0")
    (again,) = trials(found, 1)
    tell(found, again, (5.0, 0.3), (7.0, 0.35), (8.0, 0.36))
    assert asked == []
    tell(found, again, (10.0, 0.9))  # an empty rung
    assert asked == []


def test_the_newest_result_is_judged_as_when_it_came(asked) -> None:
    """The driver may have died before the trial was asked to end."""
    past = {"good": [at(1, 5.0, 0.9)], "t0": [at(2, 5.0, 0.3)], "t1": [at(3, 5.0, 0.95)]}
    restarted(asked, past, "t0", "t1")
    assert asked == [("t0", "probe/knn/top1 0.3000 at epoch 5")]


def test_a_clock_that_was_set_back_changes_no_trials_own_order(asked) -> None:
    past = {"t0": [at(9, 5.0, 0.3), at(1, 10.0, 0.3)], "good": [at(5, 10.0, 0.2)]}
    restarted(asked, past, "t0")
    assert asked == []  # its result at 10 came last, to a rung where it is the best


def test_the_median_rule_goes_on_as_if_there_had_been_no_restart(asked) -> None:
    """Every result counts once, whoever's it is."""
    past = {
        "other": [at(1, 5.0, 0.9), at(3, 10.0, 0.1)],
        "t0": [at(2, 5.0, 0.95), at(4, 10.0, 0.2)],
    }
    found = scheduler_of(
        Median.model_validate(
            {"name": "median", "metric": KNN, "grace_epochs": 5.0, "min_trials": 1}
        ),
        max_epochs=40.0,
        ask_to_stop=lambda *ask: asked.append(ask),
        past=past,
        running=["t0"],
    )
    again, late = trials(found, 2)
    tell(found, again, (5.0, 0.95), (10.0, 0.2))
    tell(found, late, (10.0, 0.54))  # the median of 0.5 and 0.575
    assert asked == []
    tell(found, late, (11.0, 0.53))
    assert asked == []  # its best is what counts


def restarted(asked: list, past: dict[str, list[ProbeRecord]], *running: str) -> TrialScheduler:
    return scheduler_of(
        asha(),
        max_epochs=40.0,
        ask_to_stop=lambda *ask: asked.append(ask),
        past=past,
        running=running,
    )
