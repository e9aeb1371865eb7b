"""Tokens are the same whether they are held or encoded again, and images come as planned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from timm.models import VisionTransformer

from mimlab.data.augment import AugmentConfig
from mimlab.data.read_plan import ReadPlan
from mimlab.probe.images import LabelledImages, part_of
from mimlab.probe.tokens import encoded, planned_tokens
from mimlab.train.export import load_encoder

CPU = torch.device("cpu")


@pytest.fixture
def images(exported: Callable) -> tuple[LabelledImages, VisionTransformer]:
    """300 digits, and an encoder."""
    made = exported([24])
    split = part_of(made.data.split("train"), np.arange(0, 900, 3))
    return LabelledImages(split, 16, CPU, 2), load_encoder(made.trial, made.card)


def test_held_tokens_are_those_that_are_encoded_again(images) -> None:
    read, encoder = images
    streams = [
        list(planned_tokens(encoder, read, batch_size=64, steps=7, cache_bytes=bound))
        for bound in (1 << 30, 0)
    ]
    assert [len(stream) for stream in streams] == [7, 7]
    for (held, labels), (again, same) in zip(*streams, strict=True):
        assert held.shape == (64, 16, 32)
        assert torch.equal(labels, same)
        # A sum of another batch is rounded otherwise, at most by a unit of float16.
        assert torch.allclose(held, again, rtol=1e-3, atol=2e-3)


def test_tokens_are_the_patches_of_the_encoder(images) -> None:
    read, encoder = images
    (pixels, labels), *_ = read.in_order()
    (tokens, same), *_ = encoded(encoder, [(pixels, labels)])
    with torch.no_grad():
        expected = encoder.forward_features(pixels)[:, 1:]
    assert torch.equal(labels, same)
    assert torch.allclose(tokens, expected, rtol=1e-3, atol=1e-3)
    assert not tokens.requires_grad


def test_every_image_comes_once_an_epoch(images) -> None:
    read, _ = images
    centred = {pixels.numpy().tobytes() for batch, _ in read.in_order() for pixels in batch}
    planned = read.planned(seed=0, batch_size=60, steps=5, augment=None)
    seen = [pixels.numpy().tobytes() for batch, _ in planned for pixels in batch]
    assert len(seen) == 300 and set(seen) == centred


def test_views_are_keyed_by_image_and_epoch(images) -> None:
    """As in training: another batch size gives the same views of the same images."""
    read, _ = images
    augment = AugmentConfig(crop_scale=(0.4, 0.8), flip=0.5)

    def views(batch_size: int) -> dict[tuple[int, int], bytes]:
        plan = ReadPlan(read.split.rows_per_group, 0, batch_size)
        rows, epochs = plan.rows(0, 600)
        batches = read.planned(
            seed=0, batch_size=batch_size, steps=600 // batch_size, augment=augment
        )
        pixels = [image.numpy().tobytes() for batch, _ in batches for image in batch]
        return dict(zip(zip(rows.tolist(), epochs.tolist(), strict=True), pixels, strict=True))

    small, large = views(60), views(100)
    assert small == large
    changed = sum(small[row, 0] != small[row, 1] for row in range(300))
    assert changed > 290


def test_labels_are_counted_without_reading_images(images) -> None:
    assert images[0].count() == 300
