"""Proposals of the search: Optuna's distributions, legal points only, nothing but the past."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mimlab.search.tpe import Observation, distribution_of, proposed
from mimlab.spec.points import Point
from mimlab.spec.space import Space
from mimlab.spec.study import Resources
from mimlab.spec.sweep import SweepConfig

SEARCH = {"name": "optuna", "num_trials": 50, "metric": "probe/knn/top1"}
BASE = {"masking": {"name": "random", "ratio": 0.5}, "train": {"batch_size": 64}}
RATE = "train.optimizer.base_lr"

SWEEP: dict[str, Any] = {
    "axes": {
        "masking.name": ["random", "block"],
        "masking.ratio": {"low": 0.3, "high": 0.9},
        RATE: {"low": 1e-5, "high": 1e-2, "log": True},
    },
    "when": [
        {
            "if": {"masking.name": "block"},
            "axes": {"masking.min_area": {"low": 1, "high": 9, "integer": True}},
        }
    ],
}


def space(sweep: dict[str, Any] = SWEEP, **search: Any) -> Space:
    config = SweepConfig.model_validate(sweep | {"search": SEARCH | search})
    return Space(config, BASE, Resources(), Path("/"))


def anything(_: Point) -> bool:
    return True


def test_each_kind_of_axis_is_the_distribution_that_it_says() -> None:
    found = {name: distribution_of(d) for name, d in space().dimensions.items()}
    assert found == {
        "masking.name": CategoricalDistribution((0, 1)),
        "masking.ratio": FloatDistribution(0.3, 0.9),
        RATE: FloatDistribution(1e-5, 1e-2, log=True),
        "when[0] masking.min_area": IntDistribution(1, 9),
    }


def test_axes_that_vary_together_are_one_choice() -> None:
    sweep = {
        "axes": {"train.batch_size": [32, 64, 128], "masking.ratio": [0.5, 0.6, 0.7]},
        "zip": [("train.batch_size", "masking.ratio")],
    }
    (only,) = space(sweep).dimensions.values()
    assert distribution_of(only) == CategoricalDistribution((0, 1, 2))
    assert [setting.value for setting in only.at(1)] == [64, 0.6]


def searched(
    of: Space, score: Callable[[dict], float], count: int, allowed=anything
) -> list[Observation]:
    past: list[Observation] = []
    for _ in range(count):
        point = proposed(of, past, allowed)
        assert point is not None
        coordinates = of.coordinates(point)
        past.append(Observation(coordinates, "finished", float(score(coordinates))))
    return past


def hill(at: dict) -> float:
    """Best at ratio 0.6 and rate 1e-3, without blocks."""
    distance = (at["masking.ratio"] - 0.6) ** 2 + (math.log10(at[RATE]) + 3) ** 2
    return -distance - 0.3 * at["masking.name"]


def best(past: Sequence[Observation]) -> float:
    values = [observation.value for observation in past]
    return max(value for value in values if value is not None)


def test_it_finds_a_good_region_faster_than_chance() -> None:
    """Over five seeds: a better best point of 40, and later points that are all near it."""
    learned = [searched(space(seed=seed), hill, 40) for seed in range(5)]
    drawn = [islice(space(seed=seed).drawn(60), 40) for seed in range(5)]
    by_chance = [[hill(space().coordinates(point)) for point in points] for points in drawn]
    assert statistics.fmean(map(best, learned)) > statistics.fmean(map(max, by_chance))
    late = statistics.fmean(hill(dict(at.coordinates)) for past in learned for at in past[25:])
    assert late > statistics.fmean(score for scores in by_chance for score in scores) / 3


def test_the_smaller_is_better_where_the_study_says_so() -> None:
    past = searched(space(mode="min"), lambda at: -hill(at), 40)
    late = [at.coordinates for at in past[25:]]
    assert statistics.fmean(-hill(dict(at)) for at in late) < 0.7
    assert statistics.fmean(at["masking.name"] for at in late) < 0.5


def test_the_next_point_follows_from_the_past_alone() -> None:
    past = searched(space(), hill, 14)
    assert proposed(space(), past, anything) == proposed(space(), past, anything)
    assert proposed(space(seed=1), past, anything) != proposed(space(), past, anything)
    turned = [Observation(at.coordinates, "finished", -at.value) for at in past if at.value]
    assert proposed(space(), turned, anything) != proposed(space(), past, anything)


def test_a_running_trial_keeps_the_next_one_away() -> None:
    past = searched(space(), hill, 20)
    point = proposed(space(), past, anything)
    assert point is not None
    running = Observation(space().coordinates(point), "running")
    assert proposed(space(), [*past, running], anything) != point


def test_failed_and_unmeasured_points_are_no_results() -> None:
    """They may be all that there is, and they do not count among those to learn from."""
    at = {"masking.name": 0, "masking.ratio": 0.5, RATE: 1e-3}
    nothing = [Observation(at, "failed"), Observation(at, "finished"), Observation(at, "pruned")]
    nothing += [Observation(at, "finished", math.nan), Observation(at, "running")]
    assert proposed(space(startup_trials=1), nothing, anything) is not None


def test_where_nothing_is_allowed_the_search_ends() -> None:
    assert proposed(space(), [], lambda _: False) is None


def test_a_forbidden_optimum_is_left_alone() -> None:
    """However good the points beside it are."""

    def allowed(point: Point) -> bool:
        values = {setting.path: setting.value for setting in point}
        return values["masking.ratio"] < 0.5

    past = searched(space(), hill, 30, allowed)
    assert all(observation.coordinates["masking.ratio"] < 0.5 for observation in past)


NUMBERS = st.floats(0.01, 1.0)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Two lists, a range of any kind, and an axis under a condition; some points excluded."""
    low, width = draw(NUMBERS), draw(NUMBERS)
    whole = draw(st.booleans())
    axis: dict[str, Any] = {"low": low, "high": low + width, "log": draw(st.booleans())}
    if whole:
        axis |= {"low": draw(st.integers(1, 5)), "high": draw(st.integers(6, 30)), "integer": True}
    sweep = {
        "axes": {
            "masking.name": draw(st.permutations(["random", "block", "grid"])),
            "masking.ratio": [0.25, 0.5, 0.75][: draw(st.integers(1, 3))],
            "train.batch_size" if whole else RATE: axis,
        },
        "when": [{"if": {"masking.name": "block"}, "axes": {"masking.min_area": [1, 2]}}],
        "exclude": draw(st.sampled_from([[], [{"masking.name": "grid"}]])),
    }
    return space(sweep, seed=draw(st.integers(0, 9)), startup_trials=2)


@given(of=spaces(), forbidden=st.sampled_from(["random", "block"]))
@settings(max_examples=25, deadline=None)
def test_every_point_is_one_of_the_space_and_allowed(of: Space, forbidden: str) -> None:
    def allowed(point: Point) -> bool:
        return point[0].value != forbidden

    past = searched(of, lambda at: at["masking.name"], 6, allowed)
    assert past == searched(of, lambda at: at["masking.name"], 6, allowed)
    names = [
        setting.value for choice in of.dimensions["masking.name"].choices for setting in choice
    ]
    for at in (dict(observation.coordinates) for observation in past):
        name = names[int(at["masking.name"])]
        assert name != forbidden
        assert ("when[0] masking.min_area" in at) == (name == "block")
        for key, axis in ((k, of.dimensions[k].range) for k in at):
            if axis is not None:
                assert axis.low <= at[key] <= axis.high
                assert not axis.integer or isinstance(at[key], int)
        assert name != "grid" or not of.sweep.exclude


@pytest.mark.parametrize("state", ["finished", "pruned", "failed", "running"])
def test_every_state_of_a_point_can_be_told(state: Any) -> None:
    past = searched(space(startup_trials=2), hill, 4)
    told = [Observation(o.coordinates, state, o.value, step=10) for o in past]
    assert proposed(space(startup_trials=2), told, anything) is not None
