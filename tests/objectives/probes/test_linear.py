import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mimlab_objectives.probes.linear import LEARNING_RATES, linear_probe


def clouds(count: int, *, num_classes: int, dim: int, spread: float, seed: int = 0):
    """Gaussian clouds, one for each class, far from the origin and of unlike scale by channel."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(num_classes, dim))
    labels = rng.integers(num_classes, size=count)
    points = centres[labels] + spread * rng.normal(size=(count, dim))
    scales = 10.0 ** np.linspace(-3, 3, dim)
    return torch.from_numpy(points * scales + 7 * scales), torch.from_numpy(labels)


def probe(fit: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], **settings: int):
    num_classes = int(fit[1].max()) + 1
    return linear_probe(*fit, *test, num_classes=num_classes, **{"seed": 0, **settings})


def test_separable_classes_are_separated_whatever_the_scale_of_a_channel() -> None:
    fit = clouds(600, num_classes=7, dim=24, spread=0.05)
    result = probe(fit, clouds(200, num_classes=7, dim=24, spread=0.05, seed=1), epochs=20)
    assert result["top1"] == result["top5"] == result["held_out_top1"] == 1.0
    assert result["learning_rate"] in LEARNING_RATES


def test_overlapping_classes_come_close_to_logistic_regression() -> None:
    fit = clouds(2000, num_classes=4, dim=8, spread=1.5)
    test = clouds(2000, num_classes=4, dim=8, spread=1.5, seed=1)
    mean, std = fit[0].mean(0), fit[0].std(0)
    reference = LogisticRegression(C=1e6).fit((fit[0] - mean) / std, fit[1])
    score = reference.score((test[0] - mean) / std, test[1])
    assert 0.5 < score < 0.9  # the task is neither trivial nor hopeless
    # one standard error of 2,000 samples is 1.1 %
    assert probe(fit, test, epochs=30)["top1"] == pytest.approx(score, abs=0.011)


def test_the_test_split_has_no_part_in_the_choice() -> None:
    fit = clouds(500, num_classes=4, dim=8, spread=1.5)
    test = clouds(300, num_classes=4, dim=8, spread=1.5, seed=1)
    wrong = test[0], (test[1] + 1) % 4
    right, permuted = probe(fit, test, epochs=10), probe(fit, wrong, epochs=10)
    assert right["learning_rate"] == permuted["learning_rate"]
    assert right["held_out_top1"] == permuted["held_out_top1"]
    assert permuted["top1"] < right["top1"] - 0.2


def test_labels_without_relation_are_guessed_by_chance() -> None:
    fit = clouds(1000, num_classes=4, dim=8, spread=1.0)[0], torch.arange(1000) % 4
    test = clouds(1000, num_classes=4, dim=8, spread=1.0, seed=1)[0], torch.arange(1000) % 4
    assert probe(fit, test, epochs=10)["top1"] == pytest.approx(0.25, abs=0.06)


def test_it_is_a_pure_function_of_data_and_seed() -> None:
    fit = clouds(300, num_classes=4, dim=8, spread=2.0)
    test = clouds(500, num_classes=4, dim=8, spread=2.0, seed=1)
    state = torch.get_rng_state()
    first = probe(fit, test, epochs=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert probe(fit, test, epochs=5) == first
    seeds = {probe(fit, test, epochs=5, seed=seed)["held_out_top1"] for seed in range(5)}
    assert len(seeds) > 1


def test_a_channel_that_never_changes_does_no_harm() -> None:
    features, labels = clouds(300, num_classes=3, dim=6, spread=0.05)
    features[:, 2] = 4.0
    assert probe((features, labels), (features, labels), epochs=10)["top1"] == 1.0


def test_features_that_are_not_numbers_are_never_right() -> None:
    features, labels = clouds(300, num_classes=3, dim=6, spread=0.05)
    features[17, 2] = float("nan")
    result = probe((features, labels), (features, labels), epochs=2)
    assert result["top1"] == result["held_out_top1"] == 0.0


def test_too_few_samples_are_refused() -> None:
    fit = clouds(1, num_classes=1, dim=6, spread=0.05)
    with pytest.raises(ValueError, match="at least two samples to fit and one to test"):
        probe(fit, fit)
