"""A study whose driver is killed, or stopped by its user, and what the next command makes of it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Killed(NamedTuple):
    """A study whose driver died during the second trial, and its continuation."""

    lab: Any
    submission: str
    mlflow_run: str
    said: Any


@pytest.fixture(scope="module")
def killed(make_lab) -> Killed:
    lab = make_lab()
    driver = lab.start("run", "tiny.yaml")
    lab.mid_training(1, driver)
    link = lab.trials[1].mlflow()
    driver.kill()
    submission = lab.submission.id
    return Killed(lab, submission, link.run_id, lab.call("run", "tiny.yaml"))


def test_the_same_line_goes_on_after_the_driver_was_killed(killed) -> None:
    assert killed.said.code == 0, killed.said
    assert f"going on with submission {killed.submission}" in killed.said.words
    assert killed.said.err == "" and killed.said.noise == []
    assert killed.lab.submission.id == killed.submission
    assert killed.lab.states == ["finished", "finished"]


def test_only_the_interrupted_trial_is_continued(killed) -> None:
    lab = killed.lab
    assert [event["from_step"] for event in lab.events(0, "training")] == [0]
    first, second = (event["from_step"] for event in lab.events(1, "training"))
    assert first == 0 and 0 < second < 600
    (resumed,) = lab.events(1, "resumed")
    assert resumed["same_next_batch"] and resumed["same_code"]
    for compared in lab.events(1, "points compared"):
        assert compared["differing"] == 0


def test_the_weights_are_those_of_an_uninterrupted_run(killed, reference) -> None:
    assert killed.lab.ended_as(reference.lab)


def test_mlflow_shows_one_run_with_each_point_once(killed) -> None:
    lab = killed.lab
    run = lab.shown(lab.trials[1])
    assert run.info.run_id == killed.mlflow_run
    assert run.info.status == "FINISHED"
    assert lab.shown(lab.submission).info.status == "FINISHED"
    assert len(lab.mlflow.search_runs([run.info.experiment_id])) == 3
    for trial in lab.trials:
        lab.assert_shown_once(trial)


class Stopped(NamedTuple):
    """A study that a second `run` met while it ran, that Ctrl-C stopped, and that went on."""

    lab: Any
    pid: int
    second: Any
    stop_s: float
    first: Any
    states: list[str]
    shown: list[str]
    """MLflow's status of the submission and of the interrupted trial, after the stop."""
    resumed: Any


@pytest.fixture(scope="module")
def stopped(make_lab) -> Stopped:
    lab = make_lab()
    driver = lab.start("run", "tiny.yaml")
    lab.wait_for_submission(driver)
    second = lab.call("run", "tiny.yaml")
    lab.mid_training(1, driver)
    driver.interrupt()
    asked = time.monotonic()
    first = driver.ended()
    stop_s = time.monotonic() - asked
    states = lab.states
    shown = [lab.shown(folder).info.status for folder in (lab.submission, lab.trials[1])]
    resumed = lab.call("resume", lab.submission.id)
    return Stopped(lab, driver.pid, second, stop_s, first, states, shown, resumed)


def test_a_second_run_of_the_same_study_is_told_who_runs_it(stopped) -> None:
    said = stopped.second
    assert said.code == 2, said
    assert f"is being run by process {stopped.pid} on " in said.err
    assert "Traceback" not in said.words


def test_ctrl_c_saves_and_says_how_to_go_on(stopped) -> None:
    assert stopped.first.code == 1, stopped.first
    assert stopped.stop_s < 60
    assert "Ctrl-C: saving checkpoints" in stopped.first.words
    assert f"stopped; go on with: mimlab resume {stopped.lab.submission.id}" in stopped.first.words
    assert stopped.first.err == "" and stopped.first.noise == []


def test_what_was_stopped_says_so_everywhere(stopped) -> None:
    assert stopped.states == ["finished", "stopped"]
    assert stopped.shown == ["KILLED", "KILLED"]


def test_a_stopped_study_is_resumed_by_its_id(stopped, reference) -> None:
    assert stopped.resumed.code == 0, stopped.resumed
    assert stopped.resumed.err == "" and stopped.resumed.noise == []
    lab = stopped.lab
    assert lab.states == ["finished", "finished"]
    assert [event["from_step"] for event in lab.events(0, "training")] == [0]
    assert lab.events(1, "training")[1]["from_step"] > 0
    assert lab.ended_as(reference.lab)
    for trial in lab.trials:
        lab.assert_shown_once(trial)
        assert lab.shown(trial).info.status == "FINISHED"


def test_sigterm_saves_and_leaves_a_preempted_trial(make_lab) -> None:
    """As a cluster gives notice before it takes a machine away: to the driver only."""
    lab = make_lab()
    driver = lab.start("run", "tiny.yaml")
    lab.mid_training(0, driver)
    driver.terminate()
    said = driver.ended()
    assert said.code == 1, said
    assert said.err == "" and said.noise == []
    assert lab.states == ["preempted", "preempted"]
    assert lab.trials[0].steps("checkpoints")[-1] >= lab.trials[0].status().step > 0
    assert lab.shown(lab.trials[0]).info.status == "KILLED"
