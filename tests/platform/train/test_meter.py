"""The figures of steps become the points of the curves."""

from __future__ import annotations

import math
import time

import pytest
import torch

from mimlab.train.clock import PHASES, Clock
from mimlab.train.meter import HISTORY_STEPS, TIMING_KEYS, Diverged, Meter
from mimlab.train.stepper import FIGURES, StepResult

CPU = torch.device("cpu")


def step(loss: float, **others: float) -> StepResult:
    """A step of two samples, of which the second one has the loss."""
    values = {"loss": loss} | others
    unsound = torch.tensor([False, not math.isfinite(loss)])
    return StepResult(torch.tensor([values.get(name, 0.0) for name in FIGURES]), unsound)


def empty() -> Meter:
    return Meter(torch.zeros(0, len(FIGURES)), Clock(CPU), skipped=0, visible_tokens=0.0)


def add(meter: Meter, *results: StepResult) -> Meter:
    for result in results:
        meter.add(result, images=100, waited_s=0.0)
    return meter


def test_a_point_is_the_mean_of_its_steps_and_the_sum_of_what_was_seen() -> None:
    meter = add(
        empty(),
        step(1.0, hidden=0.5, grad_norm=2.0, visible_tokens=800, skipped=1),
        step(3.0, hidden=0.75, grad_norm=4.0, visible_tokens=400, skipped=2, repaired=1),
    )
    point = meter.read(1)
    assert point["train/loss"] == 2.0
    assert point["train/grad_norm"] == 3.0
    assert point["mask/ratio_realised"] == 0.625
    assert point["mask/repaired"] == 0.5
    assert point["train/visible_tokens"] == 1200
    assert point["data/skipped"] == 3
    assert point["train/images_per_s"] > 0


def test_means_begin_anew_with_each_point_and_totals_go_on() -> None:
    meter = add(empty(), step(1.0, visible_tokens=10, skipped=1))
    meter.read(0)
    point = add(meter, step(5.0, visible_tokens=10)).read(1)
    assert point["train/loss"] == 5.0
    assert point["train/visible_tokens"] == 20
    assert point["data/skipped"] == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite_is_named(value: float) -> None:
    # Steps 7, 8, 9 and 10, of which 9 is the first bad one.
    meter = add(empty(), step(1.0), step(1.0), step(value), step(math.nan))
    with pytest.raises(Diverged, match="loss or gradient of step 9 is not finite") as caught:
        meter.read(10)
    assert caught.value.step == 9
    assert caught.value.figures.shape == (4, len(FIGURES))
    assert caught.value.last_step == 10
    assert caught.value.unsound.tolist() == [False, True]


def test_what_went_before_is_told_too_as_far_as_it_goes_back() -> None:
    meter = empty()
    for first in range(0, 2 * HISTORY_STEPS, 10):
        add(meter, *(step(float(first + i)) for i in range(10))).read(first + 9)
    with pytest.raises(Diverged) as caught:
        add(meter, step(math.nan)).read(2 * HISTORY_STEPS)
    losses = caught.value.figures[:, FIGURES.index("loss")].tolist()
    assert losses[:-1] == [float(i) for i in range(HISTORY_STEPS + 1, 2 * HISTORY_STEPS)]
    assert math.isnan(losses[-1])


def test_the_samples_are_those_of_the_bad_step_after_a_resume_too() -> None:
    # Steps 5 and 6 came with a checkpoint; 7 is sound, 8 is not.
    brought = add(empty(), step(1.0), step(1.0)).pending()
    meter = Meter(brought, Clock(CPU), skipped=0, visible_tokens=0.0)
    with pytest.raises(Diverged) as caught:
        add(meter, step(1.0), step(math.nan), step(1.0)).check(9)
    assert caught.value.step == 8
    assert caught.value.unsound.tolist() == [False, True]


def test_a_gradient_that_is_not_finite_is_divergence_too() -> None:
    with pytest.raises(Diverged, match="loss or gradient of step 4 is not finite"):
        add(empty(), step(1.0), step(1.0, grad_norm=math.nan)).check(4)


def test_where_gradients_are_scaled_an_infinite_one_is_looked_for() -> None:
    scaled = Meter(
        torch.zeros(0, len(FIGURES)), Clock(CPU), skipped=0, visible_tokens=0.0, scaled=True
    )
    point = add(scaled, step(1.0, grad_norm=math.inf)).read(0)
    assert point["train/grad_norm"] == math.inf
    with pytest.raises(Diverged):
        add(scaled, step(math.nan)).check(1)


def test_what_is_pending_survives_a_checkpoint() -> None:
    straight = add(empty(), step(1.0), step(2.0), step(6.0, visible_tokens=7))
    first = add(empty(), step(1.0), step(2.0))
    resumed = Meter(first.pending(), Clock(CPU), skipped=0, visible_tokens=0.0)
    add(resumed, step(6.0, visible_tokens=7))
    expected = {k: v for k, v in straight.read(2).items() if k not in TIMING_KEYS}
    assert {k: v for k, v in resumed.read(2).items() if k not in TIMING_KEYS} == expected
    assert expected["train/loss"] == 3.0


def test_looking_at_what_is_pending_takes_nothing_away() -> None:
    meter = add(empty(), step(1.0), step(3.0))
    meter.pending()
    meter.check(1)
    assert meter.read(1)["train/loss"] == 2.0
    assert meter.pending().shape == (0, len(FIGURES))


def test_a_stop_is_asked_by_the_last_step_only() -> None:
    meter = empty()
    assert not meter.stop_asked
    assert add(meter, step(1.0, stop=1.0)).stop_asked
    assert not add(meter, step(1.0)).stop_asked


def test_a_point_says_where_its_time_went() -> None:
    clock = Clock(CPU)
    meter = Meter(torch.zeros(0, len(FIGURES)), clock, skipped=0, visible_tokens=0.0)
    with clock.phase("forward"):
        time.sleep(0.05)
    with clock.phase("forward"), clock.phase("save"):
        time.sleep(0.01)
    point = add(meter, step(1.0)).read(0)
    shares = {name: point[f"train/{name}_share"] for name in PHASES}
    assert 0.5 < shares["forward"] <= 1.0
    assert 0 < shares["save"] < shares["forward"]
    assert (shares["copy"], shares["backward"], shares["optimizer"]) == (0, 0, 0)
    assert set(add(meter, step(1.0)).read(1)) == set(point)
    assert clock.read() == dict.fromkeys(PHASES, 0.0)
