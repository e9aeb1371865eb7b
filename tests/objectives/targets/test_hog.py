from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.hog import HogParams, HogTarget
from mimlab_objectives.targets.pixels import unpatchify


def hog(patch: int = 16, *, rows: int = 4, columns: int = 4, **params: object) -> HogTarget:
    return HogTarget(HogParams.model_validate(params), patch, (rows, columns))


def images_of(height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def ramp(along: str, slope: float = 1.0) -> Tensor:
    line = slope * torch.arange(64.0)
    plane = line.expand(64, 64) if along == "x" else line[:, None].expand(64, 64)
    return plane.expand(1, 3, 64, 64).clone()


def bins_of(target: HogTarget, images: Tensor) -> Tensor:
    """(patches · cells · channels, bins), of patches off the border, where ramps are reflected."""
    grid = target.compute(images).unflatten(1, target.grid)[:, 1:-1, 1:-1]
    return grid.reshape(-1, target.params.bins)


@pytest.mark.parametrize(("along", "place"), [("x", 4), ("y", 0)])
@pytest.mark.parametrize("slope", [1.0, -1.0, 0.01])
def test_a_ramp_has_one_direction_whatever_its_sign(along: str, place: int, slope: float) -> None:
    found = bins_of(hog(), ramp(along, slope))
    expected = torch.zeros(9)
    expected[place] = 1
    torch.testing.assert_close(found, expected.expand_as(found))


@pytest.mark.parametrize("whiten", [False, True])
def test_a_constant_image_has_no_direction(whiten: bool) -> None:
    inside = bins_of(hog(whiten=whiten), torch.full((1, 3, 64, 64), 0.625))
    assert not inside.any()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.25, 4), shift=st.floats(-2, 2))
def test_neither_contrast_nor_brightness_nor_sign_matters(scale: float, shift: float) -> None:
    # powers of two and whole shifts of coarse numbers are exact: no vote crosses a bin's border
    images = (images_of() * 8).round()
    scale, shift = 2.0 ** round(scale), float(round(shift))
    found = hog().compute(images)
    torch.testing.assert_close(hog().compute(scale * images + shift), found)
    torch.testing.assert_close(hog().compute(-images), found)


def test_cells_have_length_one_and_no_negative_number() -> None:
    target = hog()
    found = target.compute(images_of())
    assert found.shape == (2, 16, 108) and target.dim == 108
    assert found.min() >= 0 and found.max() <= 1
    lengths = found.unflatten(2, (12, 9)).norm(dim=3)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_predicting_zero_costs_one_ninth() -> None:
    cost = hog().compute(images_of()).square().mean()
    torch.testing.assert_close(cost, torch.tensor(1 / 9))


def test_a_cell_is_the_histogram_of_its_own_pixels_in_its_own_place() -> None:
    """Written out with loops, for a grid that is not square."""
    target = hog(8, rows=2, columns=3, cell=4)
    images = images_of(16, 24)
    found = target.compute(images).view(2, 2, 3, 2, 2, 3, 9)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    weights = (1, 2, 1)
    for row, column, cy, cx, channel in ((0, 0, 0, 0, 0), (1, 2, 0, 1, 2), (0, 1, 1, 0, 1)):
        counts = torch.zeros(9)
        for y in range(row * 8 + cy * 4, row * 8 + cy * 4 + 4):
            for x in range(column * 8 + cx * 4, column * 8 + cx * 4 + 4):
                window = padded[1, channel, y : y + 3, x : x + 3]
                gx = sum(w * (window[i, 0] - window[i, 2]) for i, w in enumerate(weights))
                gy = sum(w * (window[0, i] - window[2, i]) for i, w in enumerate(weights))
                gx, gy = torch.as_tensor(gx), torch.as_tensor(gy)
                counts[int((9 * torch.atan2(gx, gy) / torch.pi).floor()) % 9] += torch.hypot(gx, gy)
        torch.testing.assert_close(
            found[1, row, column, cy, cx, channel], counts / counts.norm(), rtol=1e-4, atol=1e-5
        )


def test_mean_pooling_changes_nothing_after_the_norm() -> None:
    images = images_of()
    torch.testing.assert_close(hog(pooling="mean").compute(images), hog().compute(images))


def test_whitened_cells_have_mean_zero_and_variance_one() -> None:
    cells = hog(whiten=True).compute(images_of()).unflatten(2, (12, 9))
    torch.testing.assert_close(cells.mean(3), torch.zeros(2, 16, 12), atol=1e-5, rtol=0)
    torch.testing.assert_close(cells.var(3, correction=0), torch.ones(2, 16, 12), atol=1e-3, rtol=0)


def test_whitened_differences_see_zero_beyond_the_border() -> None:
    """A bright image has an edge all around, which reflected borders do not have."""
    bright = torch.ones(1, 3, 64, 64)
    assert not hog().compute(bright).any()
    corner = hog(whiten=True).compute(bright)[0, 0]
    assert corner.abs().max() > 1


def test_gaussian_weights_favour_the_middle_of_a_square() -> None:
    images = images_of()
    assert not torch.allclose(hog(gaussian=True).compute(images), hog().compute(images), atol=1e-3)
    # all pixels of a cell vote alike in a ramp: weights cannot matter
    along = ramp("x")
    torch.testing.assert_close(bins_of(hog(gaussian=True), along), bins_of(hog(), along))


@pytest.mark.parametrize(("patch", "cell", "dim"), [(4, None, 108), (16, 4, 432), (16, 16, 27)])
def test_cells_may_be_of_any_size_that_tiles_the_patch(
    patch: int, cell: int | None, dim: int
) -> None:
    target = hog(patch, cell=cell)
    assert target.compute(images_of(4 * patch, 4 * patch)).shape == (2, 16, dim)


def test_cells_that_do_not_tile_the_patch_are_refused() -> None:
    with pytest.raises(ParamsError, match="1, 2, 4, 8, 16 do") as caught:
        hog(cell=5)
    assert caught.value.field == "cell"
    with pytest.raises(ValidationError):
        HogParams.model_validate({"cells": 8})


def test_a_glyph_of_an_edge_lies_along_it() -> None:
    """The gradient of a vertical edge is horizontal: its line is vertical."""
    target = hog(16, rows=1, columns=1, cell=16)
    prediction = torch.zeros(1, 1, 1, 3, 9)
    prediction[..., 4] = 1
    picture = unpatchify(target.to_pixels(prediction.flatten(3), images_of()[:1])[:, 0], 16, (1, 1))
    assert picture.shape == (1, 3, 16, 16)
    down, across = picture[0, 0, :, 7:9].mean(), picture[0, 0, 7:9, :].mean()
    assert down > 1 and across < 0
    blank = target.to_pixels(torch.zeros(1, 1, 1, 27), images_of()[:1])
    assert blank.unique().tolist() == [-2.0]


def test_glyphs_stand_in_the_place_and_channel_of_their_cell() -> None:
    target = hog(8, rows=1, columns=1, cell=4)
    prediction = torch.zeros(1, 2, 1, 2, 2, 3, 9)
    prediction[0, 1, 0, 1, 0, 2] = 1  # second round, lower left cell, blue
    pixels = target.to_pixels(prediction.flatten(3), images_of()[:1])
    first, second = (unpatchify(pixels[:, i], 8, (1, 1))[0] > -2 for i in range(2))
    assert not first.any() and second[2, 4:, :4].all()
    second[2, 4:, :4] = False
    assert not second.any()


def test_targets_are_float32_and_carry_no_gradient() -> None:
    found = hog().compute(images_of().bfloat16().requires_grad_())
    assert found.dtype == torch.float32 and not found.requires_grad
    assert targets["hog"].part is HogTarget
