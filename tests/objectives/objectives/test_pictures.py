from __future__ import annotations

import torch

from mimlab_objectives.objectives.pictures import feature_pixels


def test_patches_have_one_colour_and_equal_features_the_same() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 1, 6, 10)
    features[1, 0, 2] = features[0, 0, 4]
    pixels = feature_pixels(features, torch.ones(2, 1, 6, dtype=torch.bool), 4)
    assert pixels.shape == (2, 1, 6, 48)
    colours = pixels.unflatten(-1, (16, 3))
    assert torch.equal(colours, colours[..., :1, :].expand_as(colours))
    torch.testing.assert_close(pixels[1, 0, 2], pixels[0, 0, 4])
    deviation = colours[..., 0, :].flatten(0, 2).std(0, correction=0)
    torch.testing.assert_close(deviation, torch.ones(3), rtol=1e-3, atol=0)


def test_red_is_the_direction_of_most_variance() -> None:
    features = torch.zeros(1, 1, 4, 5)
    features[0, 0, :, 3] = torch.tensor([-3.0, -1, 1, 3])
    features[0, 0, :, 1] = torch.tensor([1.0, -1, -1, 1])
    red = feature_pixels(features, torch.ones(1, 1, 4, dtype=torch.bool), 2)[0, 0, :, 0]
    torch.testing.assert_close(red, torch.tensor([-3.0, -1, 1, 3]) / 5**0.5, rtol=1e-4, atol=1e-5)


def test_what_is_not_shown_changes_no_colour() -> None:
    torch.manual_seed(0)
    features, shown = torch.randn(1, 1, 6, 10), torch.arange(6).view(1, 1, 6) < 4
    other = torch.where(shown.unsqueeze(-1), features, 100.0)
    one, two = feature_pixels(features, shown, 2), feature_pixels(other, shown, 2)
    torch.testing.assert_close(one[shown], two[shown])
