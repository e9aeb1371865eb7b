"""The segmentation probe finds what patch tokens know of each pixel, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from mimlab_objectives.probes.segmentation import (
    BATCH_SIZE,
    NO_CLASS,
    PatchClassifier,
    mean_iou,
    segmentation_probe,
)

CPU = torch.device("cpu")
SIDE, PATCH, DIM = 6, 4, 8


def regions(count: int, seed: int, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Two regions along the patches: the first channel of a token says whose it is."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for image in range(count):
        top, left = torch.randint(0, SIDE - 2, (2,), generator=generator).tolist()
        inside[image, top : top + 3, left : left + 3] = True
    tokens = torch.randn(count, SIDE**2, DIM, generator=generator)
    tokens[..., 0] = 4 * inside.flatten(1).float() - 2 + noise * tokens[..., 0]
    labels = inside.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2).to(torch.uint8)
    return tokens, labels


def probe(fit, test, *, num_classes: int = 2, epochs: int = 60) -> float:
    told: list[dict[str, int | float]] = []
    tokens, labels = fit
    scores = segmentation_probe(
        tokens,
        labels,
        test,
        num_classes=num_classes,
        seed=0,
        epochs=epochs,
        device=CPU,
        tell=told.append,
    )
    assert told[-1]["done"] == told[-1]["of"] == epochs * math.ceil(len(tokens) / BATCH_SIZE)
    return scores["miou"]


def test_two_regions_are_told_apart() -> None:
    tokens, labels = regions(40, seed=1)
    # Upsampling blurs the borders of patches: what lies inside them is what a probe can know.
    assert probe(regions(200, seed=0), [(tokens, away_from_borders(labels))]) > 0.95


def away_from_borders(labels: Tensor) -> Tensor:
    """Without the outer pixels of patches that meet the other region."""
    kept = labels.clone().float()[:, None]
    low = -torch.nn.functional.max_pool2d(-kept, 3, 1, 1)
    high = torch.nn.functional.max_pool2d(kept, 3, 1, 1)
    return torch.where((low == high)[:, 0], labels, torch.tensor(NO_CLASS, dtype=torch.uint8))


def test_tokens_that_know_nothing_give_nothing() -> None:
    fit, test = regions(100, seed=0), regions(40, seed=1)
    blind = torch.randn(fit[0].shape, generator=torch.Generator().manual_seed(5))
    assert probe((blind, fit[1]), [test]) < 0.5


def test_half_precision_and_the_size_of_test_batches_change_little_or_nothing() -> None:
    tokens, labels = regions(60, seed=0)
    test_tokens, test_labels = regions(20, seed=1)
    whole = [(test_tokens, test_labels)]
    parts = list(zip(test_tokens.split(7), test_labels.split(7), strict=True))
    first = probe((tokens, labels), whole, epochs=5)
    assert probe((tokens, labels), parts, epochs=5) == pytest.approx(first, abs=1e-6)
    assert probe((tokens.half(), labels), whole, epochs=5) == pytest.approx(first, abs=0.01)
    assert probe((tokens, labels), whole, epochs=5) == first


def test_pixels_without_a_class_count_nowhere() -> None:
    tokens, labels = regions(60, seed=0)
    cut = labels.clone()
    cut[:, :8] = NO_CLASS
    classifier = PatchClassifier(DIM, 2).eval()
    with torch.no_grad():
        classifier.linear.weight[1, 0] = 1.0
        below = classifier(tokens, (24, 24)).argmax(1)[:, 8:]
    index = MulticlassJaccardIndex(2)
    index.update(below, labels[:, 8:].long())
    found = mean_iou(classifier, [(tokens, cut)], num_classes=2, device=CPU)
    assert found == pytest.approx(float(index.compute()))
    # A tenth of the pixels suffices, and an image without any does no harm.
    few = labels.clone()
    few[:30] = torch.where(
        torch.rand(30, 24, 24, generator=torch.Generator().manual_seed(3)) < 0.9, NO_CLASS, few[:30]
    ).to(torch.uint8)
    few[:1] = NO_CLASS
    test_tokens, test_labels = regions(20, seed=1)
    assert probe((tokens, few), [(test_tokens, away_from_borders(test_labels))]) > 0.8


def test_the_score_is_torchmetrics_own() -> None:
    """A classifier whose guesses are known: the channel of each class is its logit."""
    classifier = PatchClassifier(3, 3).eval()
    with torch.no_grad():
        classifier.linear.weight.copy_(torch.eye(3))
    guesses = torch.tensor([[0, 0, 1, 1], [1, 1, 2, 2]])  # (batch, tokens) of 2 × 2 patches
    tokens = torch.nn.functional.one_hot(guesses, 3).float()
    labels = torch.tensor([[[0, 1], [1, NO_CLASS]], [[1, 1], [2, 0]]], dtype=torch.uint8)
    found = mean_iou(classifier, [(tokens, labels)], num_classes=3, device=CPU)
    # By hand: class 0 has 1 of 3 pixels, class 1 has 3 of 4, class 2 has 1 of 2.
    assert found == pytest.approx((1 / 3 + 3 / 4 + 1 / 2) / 3)
    index = MulticlassJaccardIndex(3, ignore_index=NO_CLASS)
    index.update(guesses.view(2, 2, 2), labels.long())
    assert found == pytest.approx(float(index.compute()))
    # A class that is nowhere does not lower the mean.
    classifier = PatchClassifier(3, 4).eval()
    with torch.no_grad():
        classifier.linear.weight[:3].copy_(torch.eye(3))
        classifier.linear.bias[3] = -9
    assert mean_iou(classifier, [(tokens, labels)], num_classes=4, device=CPU) == found


def test_logits_are_upsampled_bilinearly() -> None:
    classifier = PatchClassifier(1, 2).eval()
    with torch.no_grad():
        classifier.linear.weight[:, 0] = torch.tensor([0.0, 1.0])
    tokens = torch.tensor([[[0.0], [1.0], [0.0], [1.0]]])
    scale = 1 / (1 + classifier.norm.eps) ** 0.5
    row = classifier(tokens, (4, 4))[0, 1, 0]
    assert torch.allclose(row, scale * torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_what_has_no_class_at_all_is_refused() -> None:
    tokens, labels = regions(4, seed=0)
    nothing = torch.full_like(labels, NO_CLASS)
    with pytest.raises(ValueError, match="needs a labelled pixel to fit"):
        probe((tokens, nothing), [(tokens, labels)])
    with pytest.raises(ValueError, match="needs a labelled pixel to test"):
        probe((tokens, labels), [(tokens, nothing)], epochs=1)
