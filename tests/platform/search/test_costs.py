"""The arithmetic of the bill, in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import ASHAScheduler

from mimlab.search.costs import (
    Cost,
    Held,
    Measured,
    TrialWork,
    costs_of,
    expected,
    hours,
    makespan,
    milestones,
    stored_bytes,
    survivors,
    wall_s,
)


def takes(**changes: Any) -> Measured:
    base = {
        "step_s": 0.5,
        "save_s": 2.0,
        "start_s": 10.0,
        "probe_s": {"knn": 3.0, "linear": 20.0},
        "peak_bytes": 1,
        "there_bytes": 1,
        "checkpoint_bytes": 1000,
        "export_bytes": 100,
        "point_bytes": 7,
    }
    return Measured.model_validate(base | changes)


def work(**changes: Any) -> TrialWork:
    base: dict[str, Any] = {
        "shape": 0,
        "first": 0,
        "total": 1000,
        "saves": (500, 1000),
        "probes": {500: ["knn"], 1000: ["knn", "linear"]},
    }
    return TrialWork(**(base | changes))


def test_a_trial_holds_its_devices_for_steps_saves_and_probes() -> None:
    found = expected(work(), takes(), [1.0])
    assert found.held_s == 1000 * 0.5 + 2 * 2.0 + 2 * 3.0 + 20.0
    assert found.wall_s == found.held_s + 10.0


def test_what_is_done_already_is_not_billed() -> None:
    left = work(first=600, saves=(1000,), probes={1000: ["knn", "linear"]})
    assert expected(left, takes(), [1.0]).held_s == 400 * 0.5 + 2.0 + 23.0


def test_a_stopped_trial_counts_up_to_where_it_is_stopped() -> None:
    """Of 9 trials 3 get past step 100 and 1 past step 300."""
    judged = work(judged=(100, 300), saves=(100, 1000), probes={100: ["knn"], 1000: ["knn"]})
    costs = costs_of([judged] * 9, [takes()], 3.0)
    steps = 9 * 100 + 3 * 200 + 1 * 700
    saves_and_probes = (9 + 1) * (2.0 + 3.0)
    assert sum(c.low.held_s for c in costs) == pytest.approx(steps * 0.5 + saves_and_probes)
    assert sum(c.high.held_s for c in costs) == pytest.approx(9 * (500 + 10))


def test_device_hours_are_those_of_all_workers() -> None:
    cost = Cost(low=Held(5.0, 1800.0), high=Held(5.0, 3600.0))
    found = hours([cost, cost], devices=4.0)
    assert (found.low, found.high) == (4.0, 8.0)
    wall = wall_s([cost, cost], places=2)
    assert (wall.low, wall.high) == (1805.0, 3605.0)


def test_storage_is_what_is_kept() -> None:
    kept = work(checkpoints=3, exports=5, points=100)
    assert stored_bytes(kept, takes()) == 3 * 1000 + 5 * 100 + 100 * 7


@pytest.mark.parametrize(("places", "ends"), [(1, 10.0), (2, 7.0), (3, 6.0), (4, 5.0), (9, 5.0)])
def test_trials_wait_for_a_place(places: int, ends: float) -> None:
    assert makespan([3.0, 1.0, 1.0, 5.0], places) == ends


@pytest.mark.parametrize(
    ("trials", "factor", "times", "left"),
    [
        (9, 3.0, 1, 3),
        (9, 3.0, 2, 1),
        (10, 3.0, 1, 4),
        (4, 2.0, 5, 1),
        (7, 1.5, 1, 5),
        (5, 3.0, 0, 5),
    ],
)
def test_one_in_factor_survives(trials: int, factor: float, times: int, left: int) -> None:
    assert survivors(trials, factor, times) == left


@given(
    grace=st.floats(0.5, 20),
    factor=st.floats(1.2, 5),
    more=st.floats(1.0, 100),
)
def test_the_rungs_are_those_of_ray(grace: float, factor: float, more: float) -> None:
    most = grace * more
    asha = ASHAScheduler(
        time_attr="epoch",
        metric="m",
        mode="max",
        max_t=most,  # pyright: ignore[reportArgumentType]
        grace_period=grace,  # pyright: ignore[reportArgumentType]
        reduction_factor=factor,
    )
    theirs = sorted(milestone for milestone, _ in asha._brackets[0]._rungs)
    assert milestones(grace, factor, most) == pytest.approx(theirs)


@st.composite
def _sketches(draw: st.DrawFn) -> list[tuple[int, int, int, set[int], set[int]]]:
    """Shape, first and last step, steps of probes, and those of them where it is judged."""
    found = []
    for _ in range(draw(st.integers(1, 12))):
        first = draw(st.integers(0, 50))
        total = draw(st.integers(first + 1, 400))
        probes = draw(st.sets(st.integers(first + 1, total), max_size=5)) | {total}
        judged = draw(st.sets(st.sampled_from(sorted(probes)), max_size=4)) - {total}
        found.append((draw(st.integers(0, 1)), first, total, probes, judged))
    return found


def _work(sketch: tuple[int, int, int, set[int], set[int]]) -> TrialWork:
    shape, first, total, probes, judged = sketch
    return work(
        shape=shape,
        first=first,
        total=total,
        saves=tuple(sorted(probes)),
        probes={step: ["knn"] for step in probes},
        judged=tuple(sorted(judged)),
    )


@given(sketches=_sketches(), factor=st.floats(1.1, 8), places=st.integers(1, 5))
def test_stopping_costs_less_and_more_places_end_sooner(sketches, factor, places) -> None:
    works = [_work(sketch) for sketch in sketches]
    measured = [takes(), takes(step_s=0.1, start_s=0.0)]
    costs = costs_of(works, measured, factor)
    for cost in costs:
        assert 0 < cost.low.held_s <= cost.high.held_s
    for found in (hours(costs, 2.0), wall_s(costs, places)):
        assert 0 < found.low <= found.high
    assert costs_of(works, measured, None) == [Cost(c.high, c.high) for c in costs]
    whole = sum(cost.high.wall_s for cost in costs)
    high = wall_s(costs, places).high
    assert whole / places - 1e-6 <= high <= whole + 1e-6
    assert wall_s(costs, 1).high == pytest.approx(whole)
    assert high >= max(cost.high.wall_s for cost in costs) and math.isfinite(high)
