from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimlab_objectives.targets.hog_features import BINS, cell_histograms, glyphs, hog
from mimlab_objectives.targets.hog_features import orientation_votes as votes_of


def ramp(dim: int, slope: float) -> torch.Tensor:
    """Grows along the rows (2) or the columns (3)."""
    line = slope * torch.arange(32.0)
    return line.view(1, 1, *((32, 1) if dim == 2 else (1, 32))).expand(2, 3, 32, 32)


def noise(seed: int = 0, side: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("slope", [1.0, -1.0, 0.3])
@pytest.mark.parametrize(("dim", "bin_of"), [(3, 4), (2, 0)])
def test_a_ramp_fills_one_bin(dim: int, slope: float, bin_of: int) -> None:
    found = hog(ramp(dim, slope), 8).unflatten(-1, (3, BINS))
    expected = torch.zeros(BINS)
    expected[bin_of] = 1
    torch.testing.assert_close(found, expected.expand_as(found))


def test_a_constant_image_has_no_gradients() -> None:
    assert (hog(torch.full((1, 3, 32, 32), 0.7), 8) == 0).all()


@pytest.mark.parametrize(("cell", "cells"), [(4, 56), (8, 28), (16, 14), (32, 7)])
def test_shapes_at_full_size(cell: int, cells: int) -> None:
    assert hog(noise(side=224), cell).shape == (2, cells, cells, 27)


@given(
    scale=st.integers(-3, 3), shift=st.integers(-2, 2), cell=st.sampled_from([1, 2, 4, 8]),
    bins=st.sampled_from([9, 18]),
)  # fmt: skip
def test_neither_contrast_nor_brightness_nor_sign_matters(
    scale: int, shift: int, cell: int, bins: int
) -> None:
    images = (noise(seed=cell) * 64).round() / 64
    one = cell_histograms(votes_of(images, bins), cell)
    # powers of two keep every difference exact, so that no angle falls into another bin
    other = cell_histograms(votes_of(2.0**scale * images + shift, bins), cell)
    torch.testing.assert_close(other, one)
    torch.testing.assert_close(cell_histograms(votes_of(-images, bins), cell), one)
    if cell > 1:  # a mirrored corner pixel has no gradient of its own
        lengths = one.unflatten(-1, (3, bins)).norm(dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert one.min() >= 0 and one.max() <= 1 + 1e-6


def test_votes_are_sobel_magnitudes() -> None:
    """Against the two correlations written out."""
    images = noise(3)
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    pair = torch.stack([kernel, kernel.T])[:, None]
    padded = torch.nn.functional.pad(images.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="reflect")
    expected = torch.nn.functional.conv2d(padded, pair).norm(dim=1).view(2, 3, 32, 32)
    votes = votes_of(images)
    torch.testing.assert_close(votes.sum(2), expected)
    assert ((votes > 0).sum(2) <= 1).all()


def test_autocast_rounds_nothing() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        cast = hog(noise(), 8)
    assert cast.dtype == torch.float32 and torch.equal(cast, hog(noise(), 8))


@pytest.mark.parametrize(("dim", "axis"), [(3, 0), (2, 1)])
def test_glyphs_are_strokes_along_the_edge(dim: int, axis: int) -> None:
    """A ramp along the columns has upright edges, one along the rows lying ones."""
    picture = glyphs(hog(ramp(dim, 1.0), 16), 16)[0, 0, 0]
    along, across = picture.std(axis), picture.std(1 - axis)
    assert across.mean() > 2 * along.mean()


def test_glyphs_lean_as_their_edges_do() -> None:
    """Brighter to the lower right, the edge rises to the right: from the lower left corner."""
    picture = glyphs(hog(ramp(2, 1.0) + ramp(3, 1.0), 16), 16)[0, 0, 0]
    assert picture.fliplr().diagonal().mean() > 2 * picture.diagonal().mean()
