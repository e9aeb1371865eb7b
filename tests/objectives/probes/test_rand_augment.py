"""RandAugment is timm's, and a pure function of keys and images."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.probes.global_draws import drawn_from
from mimlab_objectives.probes.rand_augment import RandAugment

SIZE = 24
KEYS = sample_keys(key_of(0, "test"), np.arange(400), 0)


def photo(seed: int = 0) -> np.ndarray:
    """Noise over a slope of colours."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(30, 180, SIZE)[:, None, None] + np.array([0, 20, 40])
    return (slope + rng.integers(0, 30, (SIZE, SIZE, 3))).astype(np.uint8)


def test_it_does_what_timm_does_under_the_same_seeds() -> None:
    settings = {
        "translate_const": int(0.45 * SIZE),
        "img_mean": (124, 116, 104),  # ImageNet's, of 255
        "interpolation": Image.Resampling.BICUBIC,
        "magnitude_max": 9.99,
    }
    timms = rand_augment_transform("rand-m9-mstd0.5-inc1", settings)
    image = photo()
    for key, change in zip(KEYS[:100], RandAugment(9, SIZE).changes(KEYS[:100]), strict=True):
        with drawn_from(int(key)):
            expected = np.asarray(timms(Image.fromarray(image)))
        np.testing.assert_array_equal(change(image), expected)


def test_a_change_depends_on_its_key_alone() -> None:
    policy, image = RandAugment(9, SIZE), photo()
    whole = [change(image) for change in policy.changes(KEYS[:60])]
    random.seed(5)
    np.random.seed(5)
    parts = [*policy.changes(KEYS[:7]), *policy.changes(KEYS[7:60])]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(lambda change: change(image), parts))
    assert all((one == other).all() for one, other in zip(whole, again, strict=True))
    assert any((one != whole[0]).any() for one in whole)


def test_draws_from_a_key_leave_the_generators_as_they_were() -> None:
    states = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with drawn_from(-7, torch.device("cpu")):
            drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    assert random.getstate() == states[0]
    np.testing.assert_equal(np.random.get_state(legacy=False), states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_each_of_two_operations_is_left_out_half_of_the_time() -> None:
    counts = [len(change.operations) for change in RandAugment(9, SIZE).changes(KEYS)]
    shares = np.bincount(counts) / len(counts)
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.1)  # four deviations
    (alone, *_) = [c for c in RandAugment(9, SIZE).changes(KEYS) if not c.operations]
    image = photo()
    assert alone(image) is image


@pytest.mark.parametrize("magnitude", [1, 10])
def test_every_magnitude_gives_an_image_of_the_same_size(magnitude: int) -> None:
    image = photo()
    before = image.copy()
    for change in RandAugment(magnitude, SIZE).changes(KEYS):
        changed = change(image)
        assert changed.shape == image.shape and changed.dtype == np.uint8
    assert (image == before).all()


def test_a_greater_magnitude_changes_more() -> None:
    image = photo().astype(float)

    def distance(magnitude: int) -> float:
        changes = RandAugment(magnitude, SIZE).changes(KEYS[:200])
        return float(np.mean([np.abs(change(photo()) - image).mean() for change in changes]))

    assert distance(9) > 1.2 * distance(1)
