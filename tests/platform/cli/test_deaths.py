"""Processes of a running study are killed; the study goes on by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.slow

WORKER, TRIAL, PROBE = "ray::RayTrainWorker", "ray::ImplicitFunc", "ray::probe_export"
ONE_TRIAL = ("--set", "sweep.axes={masking.ratio: [0.5]}")


class Bereaved(NamedTuple):
    """A study that lost its first trial's worker and its second trial's own process."""

    lab: Any
    said: Any


@pytest.fixture(scope="module")
def bereaved(make_lab) -> Bereaved:
    lab = make_lab()
    driver = lab.start("run", "tiny.yaml")
    for number, process in enumerate((WORKER, TRIAL)):
        lab.mid_training(number, driver)
        driver.kill_child(process)
    return Bereaved(lab, driver.ended())


def test_the_user_sees_a_study_that_went_well(bereaved) -> None:
    assert bereaved.said.code == 0, bereaved.said
    assert bereaved.lab.states == ["finished", "finished"]
    assert bereaved.said.err == "" and bereaved.said.noise == []


@pytest.mark.parametrize("number", [0, 1])
def test_the_trial_went_on_from_a_checkpoint(bereaved, number: int) -> None:
    first, second = bereaved.lab.events(number, "training")
    assert first["from_step"] == 0 and 0 < second["from_step"] < 600
    (resumed,) = bereaved.lab.events(number, "resumed")
    assert resumed["same_next_batch"]


def test_the_weights_are_those_that_would_have_been(bereaved, reference) -> None:
    assert bereaved.lab.ended_as(reference.lab)


def test_the_curves_have_no_gap_and_nothing_twice(bereaved) -> None:
    for trial in bereaved.lab.trials:
        bereaved.lab.assert_shown_once(trial)


def test_a_killed_probe_kills_nothing_and_is_run_again(make_lab, reference) -> None:
    lab = make_lab()
    driver = lab.start("run", "tiny.yaml", *ONE_TRIAL)
    driver.kill_child(PROBE)
    said = driver.ended()
    assert said.code == 0, said
    assert said.err == "" and said.noise == []
    assert lab.states == ["finished"]
    assert len(lab.events(0, "training")) == 1
    probed = [(record.probe, record.step, record.error) for record in lab.trials[0].probes()]
    assert probed == [
        ("knn", 360, ""),
        ("knn", 600, ""),
        ("linear", 600, ""),
    ]
    scores = [record.metrics for record in lab.trials[0].probes()]
    assert scores == [record.metrics for record in reference.lab.trials[0].probes()]
