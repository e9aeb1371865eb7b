"""A study whose driver is killed, then stopped by its user; what the next command makes of it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.slow


class Interrupted(NamedTuple):
    """A study that a second `run` met while it ran, whose driver died in the first trial, that the
    same line went on with, that Ctrl-C stopped in the second trial, and that was resumed."""

    lab: Any
    submission: str
    mlflow_run: str
    pid: int
    second: Any
    again: Any
    stop_s: float
    states: list[str]
    shown: list[str]
    """MLflow's status of the submission and of the interrupted trial, after the stop."""
    resumed: Any


@pytest.fixture(scope="module")
def interrupted(make_lab) -> Interrupted:
    lab = make_lab()
    driver = lab.start("run", "tiny.yaml")
    lab.wait_for_submission(driver)
    second = lab.call("run", "tiny.yaml")
    lab.mid_training(0, driver)
    link = lab.trials[0].mlflow()
    driver.kill()
    submission = lab.submission.id
    after = lab.start("run", "tiny.yaml")
    lab.mid_training(1, after)
    after.interrupt()
    asked = time.monotonic()
    again = after.ended()
    stop_s = time.monotonic() - asked
    states = lab.states
    shown = [lab.shown(folder).info.status for folder in (lab.submission, lab.trials[1])]
    resumed = lab.call("resume", submission)
    return Interrupted(
        lab, submission, link.run_id, driver.pid, second, again, stop_s, states, shown, resumed
    )


def test_a_second_run_of_the_same_study_is_told_who_runs_it(interrupted) -> None:
    said = interrupted.second
    assert said.code == 2, said
    assert f"is being run by process {interrupted.pid} on " in said.err
    assert "Traceback" not in said.words


def test_the_same_line_goes_on_after_the_driver_was_killed(interrupted) -> None:
    assert f"going on with submission {interrupted.submission}" in interrupted.again.words
    assert interrupted.lab.submission.id == interrupted.submission


def test_ctrl_c_saves_and_says_how_to_go_on(interrupted) -> None:
    said = interrupted.again
    assert said.code == 1, said
    assert interrupted.stop_s < 60
    assert "Ctrl-C: saving checkpoints" in said.words
    assert f"stopped; go on with: mimlab resume {interrupted.submission}" in said.words
    assert said.err == "" and said.noise == []


def test_what_was_stopped_says_so_everywhere(interrupted) -> None:
    assert interrupted.states == ["finished", "stopped"]
    assert interrupted.shown == ["KILLED", "KILLED"]


def test_a_stopped_study_is_resumed_by_its_id(interrupted) -> None:
    assert interrupted.resumed.code == 0, interrupted.resumed
    assert interrupted.resumed.err == "" and interrupted.resumed.noise == []
    assert interrupted.lab.states == ["finished", "finished"]


@pytest.mark.parametrize("number", [0, 1])
def test_each_trial_is_continued_once_from_a_checkpoint(interrupted, number: int) -> None:
    lab = interrupted.lab
    first, second = (event["from_step"] for event in lab.events(number, "training"))
    assert first == 0 and 0 < second < 600
    (resumed,) = lab.events(number, "resumed")
    assert resumed["same_next_batch"] and resumed["same_code"]
    for compared in lab.events(number, "points compared"):
        assert compared["differing"] == 0


def test_the_weights_are_those_of_an_uninterrupted_run(interrupted, reference) -> None:
    assert interrupted.lab.ended_as(reference.lab)


def test_mlflow_shows_one_run_with_each_point_once(interrupted) -> None:
    lab = interrupted.lab
    run = lab.shown(lab.trials[0])
    assert run.info.run_id == interrupted.mlflow_run
    assert lab.shown(lab.submission).info.status == "FINISHED"
    assert len(lab.mlflow.search_runs([run.info.experiment_id])) == 3
    for trial in lab.trials:
        lab.assert_shown_once(trial)
        assert lab.shown(trial).info.status == "FINISHED"
