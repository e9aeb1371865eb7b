"""Low-shot draws are balanced, nested and independent of order; the classifier is the optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mimlab_objectives.probes.low_shot import (
    PENALTY,
    draw,
    logistic_regression,
    low_shot,
    shots,
)


def uneven(count: int, num_classes: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """Labels, at least three of each class, and ids without order."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate(
        [np.repeat(np.arange(num_classes), 3), rng.integers(num_classes, size=count)]
    )
    return torch.from_numpy(labels), rng.permutation(10 * len(labels))[: len(labels)]


@settings(deadline=None)
@given(
    count=st.integers(0, 200),
    num_classes=st.integers(1, 9),
    seed=st.integers(0, 99),
    shot=st.integers(1, 3),
)
def test_draws_are_balanced(count: int, num_classes: int, seed: int, shot: int) -> None:
    labels, ids = uneven(count, num_classes, seed)
    rows = draw(labels, ids, count=shot, seed=seed)
    assert labels[rows].bincount(minlength=num_classes).tolist() == [shot] * num_classes
    assert len(rows.unique()) == len(rows)


@settings(deadline=None)
@given(
    count=st.integers(0, 200),
    seed=st.integers(0, 99),
    few=st.integers(1, 9),
    more=st.integers(0, 9),
)
def test_draws_are_nested_and_independent_of_order(
    count: int, seed: int, few: int, more: int
) -> None:
    labels, ids = uneven(count, 5, seed)
    small = ids[draw(labels, ids, count=few, seed=seed)]
    large = ids[draw(labels, ids, count=few + more, seed=seed)]
    assert set(small) <= set(large)
    order = np.random.default_rng(seed).permutation(len(ids))
    shuffled = ids[order][draw(labels[torch.from_numpy(order)], ids[order], count=few, seed=seed)]
    assert shuffled.tolist() == small.tolist()


def test_another_seed_is_another_draw() -> None:
    labels, ids = uneven(500, 5, 0)
    draws = {tuple(draw(labels, ids, count=3, seed=seed).tolist()) for seed in range(10)}
    assert len(draws) == 10


@pytest.mark.parametrize(
    ("samples", "classes", "fraction", "expected"),
    [
        (1_281_167, 1000, 0.01, 13),  # the 1 % subset of ImageNet has 12.8 a class
        (1_281_167, 1000, 0.1, 128),
        (50_000, 10, 0.01, 50),
        (1438, 10, 0.001, 1),
    ],
)
def test_a_fraction_is_so_many_of_each_class(
    samples: int, classes: int, fraction: float, expected: int
) -> None:
    assert shots(samples, classes, fraction) == expected


def clouds(count: int, seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(4, 12))
    labels = np.arange(count) % 4
    points = centres[labels] + spread * rng.normal(size=(count, 12))
    return torch.from_numpy(points), torch.from_numpy(labels)


def test_the_classifier_is_scikit_learns_optimum() -> None:
    features, labels = clouds(200, 0, spread=1.5)
    features = features / features.norm(dim=1, keepdim=True)
    weights = logistic_regression(features, labels, 4)
    reference = LogisticRegression(C=1 / PENALTY, tol=1e-9, max_iter=5000).fit(features, labels)
    inputs = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    mine = (inputs @ weights).softmax(1).numpy()
    assert np.abs(mine - reference.predict_proba(features)).max() < 2e-3


def test_few_labels_do_worse_than_many_and_the_deviation_is_that_of_the_draws() -> None:
    fit, test = clouds(800, 0, spread=1.2), clouds(400, 1, spread=1.2)
    ids = np.arange(800)

    def scored(fraction: float, seeds: int) -> dict[str, float]:
        return low_shot(*fit, ids, *test, num_classes=4, fraction=fraction, seeds=seeds)

    few, many = scored(0.01, 3), scored(0.5, 3)
    assert few["shots"] == 2 and many["shots"] == 100
    assert few["top1"] < many["top1"] - 0.05
    assert few["top1_std"] > 0
    assert scored(0.01, 1)["top1_std"] == 0
    assert scored(0.01, 3) == few


def test_the_order_of_the_samples_changes_no_score() -> None:
    (features, labels), test = clouds(400, 0), clouds(200, 1)
    order = np.random.default_rng(0).permutation(400)
    one = low_shot(features, labels, np.arange(400), *test, num_classes=4, fraction=0.02, seeds=2)
    rows = torch.from_numpy(order)
    other = low_shot(
        features[rows], labels[rows], order, *test, num_classes=4, fraction=0.02, seeds=2
    )
    assert one == pytest.approx(other, abs=0.01)


def test_nothing_to_test_is_refused() -> None:
    fit, none = clouds(40, 0), clouds(0, 0)
    with pytest.raises(ValueError, match="samples to fit and to test"):
        low_shot(*fit, np.arange(40), *none, num_classes=4, fraction=0.1, seeds=1)
