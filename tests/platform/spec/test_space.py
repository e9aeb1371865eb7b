"""The space of an adaptive search: what it begins with, which corner it avoids, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.spec.points import number_at
from mimlab.spec.space import space_of
from mimlab.spec.sweep import Range

KNN = "probe/knn/top1"
LOG_RATE = {"low": 1.0e-4, "high": 1.0e-2, "log": True}


def optuna(**changes: Any) -> dict[str, Any]:
    return {"name": "optuna", "num_trials": 3, "metric": KNN} | changes


def corner(**search: Any) -> dict[str, Any]:
    """Four points, of which one cannot run: a block of 6 patches where 4 are hidden."""
    return {
        "axes": {"masking.name": ["random", "block"], "masking.ratio": [0.25, 0.75]},
        "when": [{"if": {"masking.name": "block"}, "axes": {"masking.min_area": [6]}}],
        "search": optuna(**search),
    }


def points(studies, sweep: dict[str, Any]) -> list[dict]:
    return [trial.point for trial in studies.trials(studies.text(sweep=sweep))]


def test_an_impossible_corner_is_avoided(studies) -> None:
    found = points(studies, corner())
    assert len(found) == 3
    assert {"masking.name": "random", "masking.ratio": 0.25} in found
    assert all(p["masking.ratio"] == 0.75 for p in found if p["masking.name"] == "block")


def test_more_points_than_can_run_are_refused(studies) -> None:
    text = studies.text(sweep=corner(num_trials=4))
    assert studies.refusal(text) == (
        f"{studies.line(text, 'num_trials')}: sweep.search.num_trials: asks for 4 points, but the "
        "space has only 3 that can run; lower it, or use `search: {name: grid}`"
    )


def test_a_space_in_which_nothing_can_run_names_the_reason(studies) -> None:
    sweep = corner() | {"exclude": [{"masking.name": "random"}, {"masking.ratio": 0.75}]}
    first, *reasons = studies.refusal(studies.text(sweep=sweep)).splitlines()
    assert first.endswith(
        "sweep.axes: nothing in this space can run; of 1 points, each is refused for one of:"
    )
    assert len(reasons) == 1
    assert "min_area 6 exceeds the 4 patches that ratio 0.25 hides" in reasons[0]


@pytest.mark.parametrize(
    "more", [{}, {"train.optimizer.base_lr": LOG_RATE}], ids=["whole", "drawn"]
)
def test_a_value_with_which_nothing_can_run_is_a_mistake(studies, more: dict) -> None:
    """A misspelt name is no corner to be avoided in silence."""
    sweep = {"axes": {"masking.name": ["random", "blok"], **more}, "search": optuna(num_trials=1)}
    text = studies.text(sweep=sweep)
    first, reason = studies.refusal(text).splitlines()
    place = studies.line(text, "- blok")
    assert first == f"{place}: sweep.axes.masking.name.1: nothing with blok can run:"
    assert reason.startswith(f"{place}: masking.name: no masking is called 'blok'; did you mean")


def test_exclude_may_not_leave_nothing(studies) -> None:
    sweep = {"axes": {"masking.ratio": [0.5]}, "search": optuna(num_trials=1)}
    text = studies.text(sweep=sweep | {"exclude": [{"masking.ratio": 0.5}]})
    assert "sweep.exclude: leaves out every point" in studies.refusal(text)


MIXED: dict[str, Any] = {
    "axes": {
        "masking.name": ["random", "block"],
        "masking.ratio": {"low": 0.4, "high": 0.9},
        "train.optimizer.base_lr": LOG_RATE,
    },
    "when": [
        {
            "if": {"masking.name": "block"},
            "axes": {"masking.min_area": {"low": 1, "high": 6, "integer": True}},
        }
    ],
    "seeds": [0, 1],
}


def test_a_search_begins_with_points_by_chance_the_same_for_the_same_seed(studies) -> None:
    sweep = MIXED | {"search": optuna(num_trials=30, startup_trials=5)}
    trials = studies.trials(studies.text(sweep=sweep))
    assert [trial.spec.seed for trial in trials] == [0, 1] * 5
    assert [trial.index for trial in trials] == list(range(10))
    found = [trial.point for trial in trials]
    assert found == points(studies, sweep)
    other = sweep | {"search": optuna(num_trials=30, startup_trials=5, seed=1)}
    assert found != points(studies, other)
    for point in found:
        assert ("masking.min_area" in point) == (point["masking.name"] == "block")
        assert isinstance(point.get("masking.min_area", 1), int)


def test_coordinates_give_the_point_again(studies) -> None:
    sweep = MIXED | {"search": optuna(num_trials=10)}
    loaded = studies.load(studies.text(sweep=sweep))
    space = space_of(loaded)
    for point in space.drawn(20):
        coordinates = space.coordinates(point)
        again = space.chosen(lambda d, at=coordinates: d.at(at[d.name]))
        assert again == point


def test_axes_that_vary_together_are_one(studies) -> None:
    sweep = {
        "axes": {"train.batch_size": [32, 64], "masking.ratio": [0.5, 0.75]},
        "zip": [["train.batch_size", "masking.ratio"]],
        "search": optuna(num_trials=2),
    }
    space = space_of(studies.load(studies.text(sweep=sweep)))
    assert list(space.dimensions) == ["train.batch_size"]
    pairs = {(p["train.batch_size"], p["masking.ratio"]) for p in points(studies, sweep)}
    assert pairs == {(32, 0.5), (64, 0.75)}


@pytest.mark.parametrize(
    ("sweep", "probes", "sentence"),
    [
        (
            {"axes": {"masking.ratio": [0.5, 0.75]}, "search": optuna(metric="train/loss")},
            None,
            "sweep.search.metric: train/loss cannot rank trials for a search: with `masking.ratio` "
            "the task changes, and losses of two tasks are no measure; of the probes there are "
            "probe/knn/top1",
        ),
        (
            {"axes": {"train.optimizer.base_lr": LOG_RATE}, "search": optuna(metric="knn")},
            [],
            "sweep.search.metric: knn cannot rank trials for a search; of the probes there are "
            "none: add a probe",
        ),
        (
            {
                "axes": {"objective.name": ["mae", "simmim"]},
                "stopping": {"name": "median", "metric": "train/loss"},
            },
            None,
            "sweep.stopping.metric: train/loss cannot rank trials while they run: with "
            "`objective.name` the task changes, and losses of two tasks are no measure; of the "
            "probes there are probe/knn/top1",
        ),
        (
            {"axes": {"backbone.init": ["a.safetensors", None]}, "search": optuna()},
            None,
            "sweep.axes.backbone.init: decides what the encoder starts from, which only a grid or "
            "random search can vary; use one of these, or give one `init`",
        ),
        (
            {"axes": {"masking.ratio": {"low": 0.5, "high": 1.0, "integer": True}}},
            None,
            "sweep.axes.masking.ratio.low: 0.5 is no whole number, and `integer` asks for one",
        ),
    ],
    ids=["loss", "no probe", "loss for stopping", "init", "integer"],
)
def test_what_cannot_be_searched_is_refused(studies, sweep, probes, sentence: str) -> None:
    sections = {"sweep": sweep} | ({} if probes is None else {"probes": probes})
    found = studies.refusal(studies.text(**sections)).splitlines()
    assert [line.partition(": ")[2] for line in found] == [sentence]


@given(
    low=st.integers(1, 20),
    size=st.integers(1, 20),
    log=st.booleans(),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_whole_axis_gives_whole_numbers_within(
    low: int, size: int, log: bool, share: float
) -> None:
    axis = Range(low=low, high=low + size, log=log, integer=True)
    number = number_at(axis, share)
    assert isinstance(number, int) and low <= number <= low + size


def test_whole_numbers_are_equally_likely() -> None:
    axis = Range(low=1, high=4, integer=True)
    found = [number_at(axis, (i + 0.5) / 400) for i in range(400)]
    assert [found.count(n) for n in (1, 2, 3, 4)] == [100] * 4
