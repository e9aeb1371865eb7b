"""Workers may die any number of times, as long as the trial comes further in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ray.train.v2._internal.execution.controller.state import InitializingState, RunningState
from ray.tune.experiment import Trial

from mimlab.search.callback import MAX_DEATHS as OWN_DEATHS
from mimlab.search.callback import TrialDeaths
from mimlab.search.deaths import MAX_DEATHS, Deaths, StopWhileWaiting
from mimlab.storage.control import (
    Outcome,
    StopRequest,
    asked_of_workers,
    clear,
    read_outcome,
    request_pause,
    request_prune,
    request_stop,
    stop_request,
    withdraw_pause,
    write_outcome,
)
from mimlab.storage.folders import TrialFolder

DIED: dict[int, Exception] = {0: RuntimeError("a long story\nthe actor died")}


@pytest.fixture
def trial(tmp_path: Path, create_tiny: Callable) -> TrialFolder:
    return create_tiny(tmp_path).trial


def save(trial: TrialFolder, step: int) -> None:
    trial.store.write(trial.file(f"checkpoints/step_{step:09d}/manifest.json"), b"{}")


def test_a_trial_that_comes_no_further_is_given_up(trial: TrialFolder) -> None:
    deaths = Deaths(trial)
    save(trial, 40)
    for _ in range(MAX_DEATHS):
        deaths.after_exception(None, DIED)
    assert read_outcome(trial) is None
    deaths.after_exception(None, DIED)
    assert read_outcome(trial) == Outcome(
        state="failed",
        reason="workers died 4 times after step 40: RuntimeError: the actor died",
        step=40,
    )


def test_a_trial_that_comes_further_is_not(trial: TrialFolder) -> None:
    deaths = Deaths(trial)
    for step in range(10, 200, 10):
        deaths.after_exception(None, DIED)
        deaths.after_exception(None, DIED)
        save(trial, step)
    assert read_outcome(trial) is None


def test_an_outcome_that_a_worker_wrote_stays(trial: TrialFolder) -> None:
    own = Outcome(state="diverged", step=3)
    write_outcome(trial, own)
    deaths = Deaths(trial)
    for _ in range(MAX_DEATHS + 1):
        deaths.after_exception(None, DIED)
    assert read_outcome(trial) == own


def test_a_trial_that_waits_for_workers_can_be_stopped(trial: TrialFolder) -> None:
    waiting = StopWhileWaiting(trial)
    waiting.after_controller_state_update(RunningState(), InitializingState())
    request_stop(trial, StopRequest(state="stopped", reason="Ctrl-C"))
    waiting.after_controller_state_update(InitializingState(), RunningState())
    assert read_outcome(trial) is None  # its workers see to it
    with pytest.raises(RuntimeError, match="Ctrl-C"):
        waiting.after_controller_state_update(RunningState(), InitializingState())
    assert read_outcome(trial) == Outcome(state="stopped", reason="Ctrl-C")


def test_a_stop_comes_before_a_pause(trial: TrialFolder) -> None:
    assert asked_of_workers(trial) is None
    request_pause(trial, "goes on with 4 workers")
    asked = asked_of_workers(trial)
    assert asked is not None and asked.state == "pending"
    stop = StopRequest(state="preempted", reason="SIGTERM")
    request_stop(trial, stop)
    assert asked_of_workers(trial) == stop
    withdraw_pause(trial)
    assert asked_of_workers(trial) == stop
    request_pause(trial, "left by a process that died")
    clear(trial)
    assert asked_of_workers(trial) is None


def test_what_a_rung_has_decided_holds_over_restarts(trial: TrialFolder) -> None:
    """A stop ends it sooner; whoever goes on after it finds the decision, and its first reason."""
    request_prune(trial, "0.31 at epoch 8")
    stop = StopRequest(state="preempted", reason="SIGTERM")
    request_stop(trial, stop)
    assert asked_of_workers(trial) == stop
    clear(trial)
    request_prune(trial, "0.24 at epoch 16")
    asked = asked_of_workers(trial)
    assert asked == StopRequest(state="pruned", reason="0.31 at epoch 8")
    StopWhileWaiting(trial).after_controller_state_update(RunningState(), InitializingState())
    assert read_outcome(trial) is None  # its workers save and export first


class OwnProcess:
    """The process of a trial, as Ray Tune sees it die."""

    def __init__(self, trial: TrialFolder) -> None:
        self._deaths = TrialDeaths(lambda _: trial, lambda: None)
        self._tunes = Trial("run_trial", config={"trial": {"trial_id": trial.id}}, stub=True)

    def dies(self, times: int = 1) -> None:
        for _ in range(times):
            self._deaths.on_trial_recover(0, [], self._tunes)


def test_a_trial_whose_own_process_gets_nowhere_is_given_up(trial: TrialFolder) -> None:
    process = OwnProcess(trial)
    save(trial, 40)
    process.dies(OWN_DEATHS)
    assert stop_request(trial) is None
    process.dies()
    found = stop_request(trial)
    assert found is not None and found.state == "failed"
    assert found.reason.startswith(f"its process died {OWN_DEATHS + 1} times after step 40")


def test_the_process_of_a_trial_that_comes_further_may_die_any_number_of_times(
    trial: TrialFolder,
) -> None:
    process = OwnProcess(trial)
    for step in range(10, 200, 10):
        process.dies(OWN_DEATHS)
        save(trial, step)
    assert stop_request(trial) is None
