"""Ratio schedules: closed forms, bounds, and what a batch hides by them."""

import math
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.drawn_schedules import (
    DrawnRatio,
    MaskGitRatio,
    Shape,
    TruncatedNormalRatio,
)
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.ratio import HiddenCount
from mimlab_objectives.masking.schedules import (
    CosineRatio,
    LinearRatio,
    Ramp,
    RatioSchedule,
    StepRatio,
    schedules,
)
from mimlab_objectives.masking.uniform import Random, RandomParams
from mimlab_objectives.registry import ParamsError

NONE = torch.zeros(0, dtype=torch.int64)
MAGE = TruncatedNormalRatio(name="truncated_normal")


def maskgit(shape: Shape, **params: float) -> MaskGitRatio:
    return MaskGitRatio.model_validate({"name": "maskgit", "shape": shape, **params})


def ramps(start: float, end: float) -> list[Ramp]:
    return [
        LinearRatio(name="linear", start=start, end=end),
        CosineRatio(name="cosine", start=start, end=end),
        StepRatio(name="step", start=start, end=end),
    ]


FORMS: list[RatioSchedule] = [*ramps(0.9, 0.5), MAGE, maskgit("cosine"), maskgit("log")]


@pytest.mark.parametrize("ramp", ramps(0.9, 0.5), ids=str)
def test_a_ramp_falls_from_start_to_end(ramp: Ramp) -> None:
    ratios = [ramp.at(i / 100, 0) for i in range(101)]
    assert ratios[0] == pytest.approx(0.9)
    assert ratios[-1] == pytest.approx(0.5)
    assert ratios == sorted(ratios, reverse=True)
    assert ramp.mean() == pytest.approx(fmean(ratios), abs=0.003)
    assert ramp.bounds() == (0.5, 0.9)


def test_ramps_in_the_middle_and_at_a_quarter() -> None:
    linear, cosine, step = ramps(0.9, 0.5)
    assert linear.at(0.25, 0) == pytest.approx(0.8)
    assert cosine.at(0.25, 0) == pytest.approx(0.7 + 0.2 * math.cos(math.pi / 4))
    assert linear.at(0.5, 0) == cosine.at(0.5, 0) == pytest.approx(0.7)
    assert (step.at(0.4999, 0), step.at(0.5, 0)) == (0.9, 0.5)
    late = StepRatio(name="step", start=0.9, end=0.5, when=0.75)
    assert late.at(0.7, 0) == 0.9
    assert late.mean() == pytest.approx(0.8)


def test_mages_draws_have_its_mean_and_never_less_than_half() -> None:
    """Mean 0.694, deviation 0.129, median 0.676; a third above 0.75."""
    ratios = np.array([MAGE.at(0.0, key) for key in range(3000)])
    assert ratios.min() >= 0.5
    assert ratios.max() <= 1
    assert abs(ratios.mean() - 0.694) < 0.01
    assert abs(ratios.std() - 0.129) < 0.005
    assert abs(np.median(ratios) - 0.676) < 0.01
    assert abs((ratios > 0.75).mean() - 0.32) < 0.02
    assert MAGE.mean() == pytest.approx(0.694, abs=5e-4)


@pytest.mark.parametrize(
    ("ratio", "mean"),
    [
        (maskgit("cosine"), 2 / math.pi),
        (maskgit("uniform"), 1 / 2),
        (maskgit("pow"), 2 / 3),
        (maskgit("pow", power=3), 3 / 4),
        (maskgit("arccos"), 2 / math.pi),
        (maskgit("exp"), 1 - (1 - 1 / 256) / math.log(256)),
        # clipped at 1 below u = 1/256: 1/256, then (1 − 1/256)/ln 256 by parts
        (maskgit("log"), (1 - 1 / 256) / math.log(256)),
    ],
    ids=lambda value: getattr(value, "shape", ""),
)
def test_maskgits_means_are_those_of_the_closed_forms(ratio: MaskGitRatio, mean: float) -> None:
    assert ratio.mean() == pytest.approx(mean, abs=5e-4)
    drawn = fmean(ratio.at(0.0, key) for key in range(2000))
    assert drawn == pytest.approx(mean, abs=0.025)


@given(
    st.sampled_from(["cosine", "uniform", "pow", "log", "exp", "arccos"]),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
)
def test_maskgits_shapes_fall_inside_0_and_1(shape: Shape, draws: list[float]) -> None:
    ratio = maskgit(shape)
    low, high = sorted(draws)
    assert ratio.quantile(low) >= ratio.quantile(high)
    assert ratio.quantile(high) >= -1e-12
    assert ratio.quantile(low) <= 1 + 1e-12 or shape == "log"  # clipped


@pytest.mark.parametrize("schedule", FORMS, ids=str)
def test_a_ratio_is_a_function_of_progress_and_the_steps_key(schedule: RatioSchedule) -> None:
    drawn = isinstance(schedule, DrawnRatio)
    again = type(schedule).model_validate(schedule.model_dump())
    assert [schedule.at(0.3, key) for key in range(9)] == [again.at(0.3, key) for key in range(9)]
    assert len({schedule.at(0.3, key) for key in range(9)}) == (9 if drawn else 1)
    assert (schedule.at(0.1, 5) == schedule.at(0.9, 5)) == drawn


@pytest.mark.parametrize("quantum", [1, 4, 8])
def test_a_training_has_few_counts_and_stays_between_the_bounds(quantum: int) -> None:
    ratio = LinearRatio(name="linear", start=0.9, end=0.5, quantum=quantum)
    count = HiddenCount(ratio, 196, unit="patches")
    hidden = [count.at(MaskRequest(NONE, progress=i / 1000)) for i in range(1001)]
    assert (hidden[0], hidden[-1]) == (177 if quantum == 1 else 176, 98)
    assert hidden == sorted(hidden, reverse=True)
    assert len(set(hidden)) <= (177 - 98) / quantum + 2
    assert all(n % quantum == 0 for n in set(hidden) - {177, 98})
    assert count.count == "batch"
    assert count.mean == 138


def test_a_schedule_that_never_changes_the_count_is_exact() -> None:
    ratio = LinearRatio(name="linear", start=0.751, end=0.752)
    assert HiddenCount(ratio, 16, unit="patches").count == "exact"


def test_a_batch_shares_a_drawn_ratio() -> None:
    keys = torch.from_numpy(sample_keys(key_of(0, "schedule"), np.arange(50), 0))
    ratio = TruncatedNormalRatio(name="truncated_normal", high=0.95)
    masking = Random(RandomParams(ratio=ratio), (14, 14))
    plans = [masking.plan(MaskRequest(keys, step_key=step)) for step in range(30)]
    counts = [plan.hidden.sum(2) for plan in plans]
    assert all((count == count[0]).all() for count in counts)
    assert len({int(count[0]) for count in counts}) > 10


def test_a_schedule_that_hides_everything_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"truncated_normal goes up to ratio 1\.0, which hides"):
        HiddenCount(MAGE, 196, unit="patches")
    assert HiddenCount(MAGE, 196, unit="patches", or_all=True).most == 196


@pytest.mark.parametrize(
    "wrong", [{"low": 0.9, "high": 0.6}, {"low": 0.0}, {"high": 1.1}, {"std": 0}, {"mean": 0.5}]
)
def test_bounds_that_cannot_hold_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TruncatedNormalRatio.model_validate({"name": "truncated_normal", **wrong})


def test_a_normal_distribution_far_outside_its_bounds_gives_the_nearest_one() -> None:
    far = TruncatedNormalRatio(name="truncated_normal", mu=0.1, std=0.001, low=0.5, high=0.9)
    assert far.at(0.0, 3) == far.mean() == 0.5


def test_they_are_registered_and_name_themselves_shortly() -> None:
    assert {"linear", "cosine", "step", "truncated_normal", "maskgit"} <= set(schedules)
    assert str(FORMS[0]) == "linear(start=0.9, end=0.5)"
    assert str(MAGE) == "truncated_normal"
    assert str(maskgit("pow", power=3)) == "maskgit(shape=pow, power=3.0)"
