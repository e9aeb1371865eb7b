"""Rung correlation: early against final ranks of the trials that have both."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mimlab.compare.rungs import MIN_TRIALS, correlations, rungs_of
from mimlab.compare.trials import read_trials

KNN = "probe/knn/top1"
ranks = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), min_size=2, max_size=8)


def evaluated(study, curves: Sequence[Sequence[float | None]]):
    """A finished trial for each curve, evaluated every 10 steps."""
    for seed, curve in enumerate(curves):
        trial = study.trial(seed=seed)
        for i, score in enumerate(curve, start=1):
            study.probe(trial, 10 * i, KNN, score)


@pytest.mark.parametrize(
    ("final", "rho", "tau"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 1.0, 1.0),
        ([5.0, 4.0, 3.0, 2.0, 1.0], -1.0, -1.0),
        # ρ = 1 − 6 Σd² ÷ (n (n² − 1)) = 1 − 6·2 ÷ 120; one of ten pairs is turned round.
        ([2.0, 1.0, 3.0, 4.0, 5.0], 0.9, 0.8),
    ],
)
def test_known_orders(final: list[float], rho: float, tau: float) -> None:
    found = correlations([1.0, 2.0, 3.0, 4.0, 5.0], final)
    assert found == pytest.approx((rho, tau))


@given(ranks, st.randoms())
def test_kendall_counts_pairs_and_ties_as_its_definition_does(early, random) -> None:
    final = [random.choice([0.0, 0.25, 0.5, 0.75]) for _ in early]
    assume(len(set(early)) > 1 and len(set(final)) > 1)
    pairs = [(i, j) for i in range(len(early)) for j in range(i)]
    one = [(early[i] > early[j]) - (early[i] < early[j]) for i, j in pairs]
    two = [(final[i] > final[j]) - (final[i] < final[j]) for i, j in pairs]
    product = sum(a * b for a, b in zip(one, two, strict=True))
    size = (sum(a * a for a in one) * sum(b * b for b in two)) ** 0.5
    assert correlations(early, final)[1] == pytest.approx(product / size)


def test_what_is_not_defined_is_none() -> None:
    assert correlations([0.5], [0.5]) == (None, None)
    assert correlations([0.5, 0.5], [0.1, 0.2]) == (None, None)


def test_every_earlier_evaluation_is_ranked_against_the_last(study) -> None:
    finals = [0.1, 0.2, 0.3, 0.4, 0.5]
    evaluated(study, [[1 - final, final / 2, final] for final in finals])
    first, second = rungs_of(read_trials(study.submission()), [KNN])
    assert (first.evaluation, first.epoch, first.n) == (1, 1.0, 5)
    assert (first.spearman, first.kendall) == pytest.approx((-1.0, -1.0))
    assert (second.evaluation, second.epoch) == (2, 2.0)
    assert (second.spearman, second.kendall) == pytest.approx((1.0, 1.0))
    assert not first.too_few


def test_few_trials_say_nothing_however_they_are_ordered(study) -> None:
    evaluated(study, [[0.1, 0.2], [0.3, 0.4]])
    (rung,) = rungs_of(read_trials(study.submission()), [KNN])
    assert rung.n < MIN_TRIALS and rung.too_few


def test_a_failed_evaluation_keeps_its_number(study) -> None:
    evaluated(study, [[0.1, 0.4, 0.5], [None, 0.3, 0.6], [0.2, 0.5, 0.7]])
    first, second = rungs_of(read_trials(study.submission()), [KNN])
    assert (first.evaluation, first.n) == (1, 2)
    assert (second.evaluation, second.n) == (2, 3)


def test_trials_that_were_stopped_have_no_final_rank(study) -> None:
    evaluated(study, [[0.1, 0.2], [0.3, 0.4]])
    study.probe(study.trial(seed=9, state="pruned"), 10, KNN, 0.05)
    (rung,) = rungs_of(read_trials(study.submission()), [KNN])
    assert rung.n == 2


def test_one_evaluation_gives_no_rung(study) -> None:
    evaluated(study, [[0.1], [0.2]])
    assert rungs_of(read_trials(study.submission()), [KNN]) == []
