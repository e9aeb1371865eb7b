"""What a probe does to the images that it trains on depends on the image and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mimlab.data.read_plan import ReadPlan
from mimlab.probe.images import Change, LabelledImages, part_of
from mimlab.probe.kinds.finetune import FinetuneProbe
from mimlab.train.pixels import to_pixels
from mimlab_objectives.keys import key_of, sample_keys

SEED = 5


@pytest.fixture
def images(exported: Callable) -> LabelledImages:
    """60 digits."""
    split = part_of(exported([24]).data.split("train"), np.arange(0, 180, 3))
    return LabelledImages(split, 16, torch.device("cpu"), 2)


def painted(keys: np.ndarray) -> list[Change]:
    """Makes an image of one grey by its key."""
    return [lambda pixels, grey=int(key) % 256: np.full_like(pixels, grey) for key in keys]


@pytest.mark.parametrize("batch_size", [20, 30])
def test_each_view_of_an_image_has_its_own_key(images: LabelledImages, batch_size: int) -> None:
    plan = ReadPlan(images.split.rows_per_group, SEED, batch_size)
    rows, epochs = plan.rows(0, 120)
    keys = sample_keys(key_of(SEED, "change"), images.split.ids(rows), epochs)
    batches = images.planned(
        seed=SEED, batch_size=batch_size, steps=120 // batch_size, augment=None, changes=painted
    )
    seen = torch.cat([to_pixels(pixels) for pixels, _ in batches])
    assert (seen == seen[:, :1, :1, :1]).all()
    assert seen[:, 0, 0, 0].tolist() == (keys % 256).tolist()


def test_fine_tuning_changes_most_views() -> None:
    """RandAugment leaves a quarter of them alone, and more where there is nothing to change."""
    policy = FinetuneProbe(name="finetune", at="end").changes(16)
    assert policy is not None
    keys = sample_keys(SEED, np.arange(400), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    changed = [(change(pixels) != pixels).any() for change in policy(keys)]
    assert 0.5 < np.mean(changed) < 0.85


def test_a_magnitude_of_zero_leaves_every_view_as_it_is(images: LabelledImages) -> None:
    plain = FinetuneProbe(name="finetune", at="end", rand_augment=0)
    assert plain.changes(16) is None
    whole = {image.numpy().tobytes() for pixels, _ in images.in_order() for image in pixels}
    batches = images.planned(
        seed=SEED, batch_size=20, steps=3, augment=None, changes=plain.changes(16)
    )
    assert {image.numpy().tobytes() for pixels, _ in batches for image in pixels} == whole
