import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mimlab_objectives.probes.knn import weighted_knn


def vote(fit: list[list[float]], labels: list[int], test: list[float], k: int) -> int:
    """The class that the probe gives one vector, found by trying every label."""
    num_classes = max(labels) + 1
    fit_features, fit_labels = torch.tensor(fit), torch.tensor(labels)
    for label in range(num_classes):
        result = weighted_knn(
            fit_features, fit_labels, torch.tensor([test]), torch.tensor([label]),
            num_classes=num_classes, k=k,
        )  # fmt: skip
        if result["top1"] == 1.0:
            return label
    raise AssertionError("no label is right")


def at(degrees: float, length: float = 1.0) -> list[float]:
    return [length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))]


def test_one_neighbour_is_the_nearest_by_angle_whatever_the_length() -> None:
    fit = [at(0, 0.01), at(50, 100.0)]
    assert vote(fit, [0, 1], at(20), k=1) == 0
    assert vote(fit, [0, 1], at(30), k=1) == 1


def test_one_near_neighbour_outvotes_two_far_ones() -> None:
    # exp((cos 0 − cos 60°) / 0.07) = e^7.1 against 2
    assert vote([at(0), at(60), at(-60)], [0, 1, 1], at(0), k=3) == 0


def test_two_neighbours_outvote_one_that_is_hardly_nearer() -> None:
    # (cos 0 − cos 5°) / 0.07 = 0.054: e^0.054 = 1.06 against 2
    assert vote([at(0), at(5), at(-5)], [0, 1, 1], at(0), k=3) == 1


def test_a_neighbour_beyond_k_has_no_vote() -> None:
    assert vote([at(0), at(5), at(-6)], [0, 1, 1], at(0), k=1) == 0


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31), k=st.integers(1, 12), num_classes=st.integers(2, 9),
    chunk=st.integers(1, 40),
)  # fmt: skip
def test_it_equals_brute_force(seed: int, k: int, num_classes: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    fit, test = rng.normal(size=(30, 5)), rng.normal(size=(25, 5))
    fit_labels, test_labels = rng.integers(num_classes, size=30), rng.integers(num_classes, size=25)
    top1 = top5 = 0
    for row, label in zip(test, test_labels, strict=True):
        cosines = fit @ row / np.linalg.norm(fit, axis=1) / np.linalg.norm(row)
        votes: dict[int, float] = defaultdict(float)
        for index in sorted(range(30), key=lambda i: -cosines[i])[:k]:
            votes[int(fit_labels[index])] += math.exp(cosines[index] / 0.07)
        guesses = sorted(range(num_classes), key=lambda name: (-votes[name], name))
        top1, top5 = top1 + (guesses[0] == label), top5 + (label in guesses[:5])
    result = weighted_knn(
        torch.from_numpy(fit), torch.from_numpy(fit_labels), torch.from_numpy(test),
        torch.from_numpy(test_labels), num_classes=num_classes, k=k, chunk=chunk,
    )  # fmt: skip
    assert result["top1"] == pytest.approx(top1 / 25)
    assert result.get("top5") == (pytest.approx(top5 / 25) if num_classes > 5 else None)


def features_of(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 4, generator=generator), torch.arange(count) % 3


def test_features_that_are_not_numbers_are_never_right() -> None:
    fit, fit_labels = features_of(30)
    test, test_labels = features_of(9)
    nan = torch.full_like(test, float("nan"))
    assert weighted_knn(fit, fit_labels, nan, test_labels, num_classes=3)["top1"] == 0


@pytest.mark.parametrize("k", [0, 31])
def test_more_neighbours_than_samples_are_refused(k: int) -> None:
    fit, labels = features_of(30)
    with pytest.raises(ValueError, match=f"k = {k} neighbours cannot be found among 30"):
        weighted_knn(fit, labels, fit, labels, num_classes=3, k=k)


def test_nothing_to_test_is_refused() -> None:
    fit, labels = features_of(30)
    with pytest.raises(ValueError, match="no sample to test"):
        weighted_knn(fit, labels, fit[:0], labels[:0], num_classes=3)
