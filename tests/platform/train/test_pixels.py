"""What networks take goes back to the pixels it came from."""

from __future__ import annotations

import torch

from mimlab.train.pixels import normalise, to_pixels
from mimlab_objectives.images import MEAN, STD


def test_every_value_of_a_pixel_comes_back() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    pixels = torch.cat([values, values.flip(1), values.flip(2)], dim=3)
    assert torch.equal(to_pixels(normalise(pixels)), pixels)


def test_normalised_is_share_of_white_less_the_mean_over_the_deviation() -> None:
    pixels = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    expected = [(x - m) / s for x, m, s in zip((0.0, 0.2, 1.0), MEAN, STD, strict=True)]
    assert torch.allclose(normalise(pixels).flatten(), torch.tensor(expected), atol=1e-6)


def test_what_lies_outside_is_clipped_and_the_rest_rounded() -> None:
    one = normalise(torch.full((1, 1, 1, 3), 100, dtype=torch.uint8))
    level = 1 / (255 * torch.tensor(STD).view(1, 3, 1, 1))
    assert to_pixels(one - 1000 * level).unique().tolist() == [0]
    assert to_pixels(one + 1000 * level).unique().tolist() == [255]
    assert to_pixels(one + 0.4 * level).unique().tolist() == [100]
    assert to_pixels(one + 0.6 * level).unique().tolist() == [101]
