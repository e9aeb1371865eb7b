"""Intervals are Student's; pairs are made of equal seeds, ratios and settings, and of no others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mimlab.compare.cells import cells_of
from mimlab.compare.intervals import estimate, paired_difference, paired_differences
from mimlab.compare.trials import read_trials

KNN = "probe/knn/top1"
scores = st.floats(0.0, 1.0).map(lambda x: round(x, 6))


def test_three_values_have_the_interval_of_the_textbook() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.n, found.mean, found.std) == (3, 2.0, 1.0)
    # t(0.975; 2) has a closed form: 0.95 · √(2 ÷ (1 − 0.95²)).
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    half = quantile / math.sqrt(3)
    assert found.half_width == pytest.approx(half, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((2.0 - half, 2.0 + half), rel=1e-9)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = estimate([0.25])
    assert one is not None
    assert (one.n, one.mean, one.std, one.low, one.high) == (1, 0.25, None, None, None)
    assert estimate([]) is None


@given(st.lists(scores, min_size=2, max_size=9, unique=True))
def test_intervals_are_those_of_scipy(values: list[float]) -> None:
    found = estimate(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found is not None
    assert found.low == pytest.approx(expected.low, rel=1e-9, abs=1e-12)
    assert found.high == pytest.approx(expected.high, rel=1e-9, abs=1e-12)


def test_another_unit_scales_everything_but_the_count() -> None:
    found = estimate([0.5, 0.625, 0.75])
    assert found is not None
    assert found.times(100.0) == estimate([50.0, 62.5, 75.0])


def test_a_paired_difference_is_the_paired_t_of_scipy_over_common_seeds() -> None:
    first = {0: 0.61, 1: 0.64, 2: 0.60, 7: 0.99}
    second = {2: 0.57, 1: 0.60, 0: 0.58, 8: 0.01}
    found = paired_difference(first, second)
    expected = stats.ttest_rel([0.61, 0.64, 0.60], [0.58, 0.60, 0.57]).confidence_interval(0.95)
    assert found is not None and found.n == 3
    assert found.low == pytest.approx(expected.low, rel=1e-9)
    assert found.high == pytest.approx(expected.high, rel=1e-9)


def test_without_a_common_seed_there_is_no_difference() -> None:
    assert paired_difference({0: 0.5}, {1: 0.6}) is None


def test_only_equal_ratios_and_settings_are_paired(study) -> None:
    for name, shift in (("random", 0.0), ("block", 0.1)):
        for ratio in (0.5, 0.75):
            for lr in (0.1, 0.2):
                for seed in (0, 1, 2):
                    axes = {"train.base_lr": lr}
                    trial = study.trial(name, ratio, seed, axes=axes)
                    study.probe(trial, 10, KNN, 0.5 + shift + 0.01 * seed + lr * ratio)
    pairs = paired_differences(cells_of(read_trials(study.submission())), [KNN])
    assert [(p.first, p.second, p.ratio, p.setting) for p in pairs] == [
        ("random", "block", ratio, f"base_lr={lr}")
        for lr in (0.1, 0.2)
        for ratio in ("0.5", "0.75")
    ]
    for pair in pairs:
        assert pair.difference is not None and pair.difference.n == 3
        assert pair.difference.mean == pytest.approx(-0.1)
        assert pair.told_apart


def test_a_trial_that_ended_early_is_in_no_pair(study) -> None:
    for seed in (0, 1):
        study.probe(study.trial("random", 0.5, seed), 10, KNN, 0.5)
    study.probe(study.trial("block", 0.5, 0), 10, KNN, 0.6)
    study.probe(study.trial("block", 0.5, 1, state="pruned"), 5, KNN, 0.1)
    (pair,) = paired_differences(cells_of(read_trials(study.submission())), [KNN])
    assert pair.difference is not None
    assert (pair.difference.n, pair.told_apart) == (1, False)
    assert pair.difference.mean == pytest.approx(-0.1)
