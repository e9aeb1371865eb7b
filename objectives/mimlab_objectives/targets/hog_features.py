"""Histograms of oriented gradients, at any cell size: pure functions of images.

After Wei et al., 2022 (arXiv:2112.09133) and facebookresearch/SlowFast,
slowfast/models/operators.py (HOGLayerC): no block normalisation, no spatial weighting. LocalMIM
(Haoqing-Wang/LocalMIM) averages magnitudes in a cell instead of adding them, which is the same
after the cell's bins are divided by their length.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

BINS = 9
"""Unsigned orientations, of π ÷ 9 each."""


def hog(
    images: Float[Tensor, "batch 3 height width"], cell_size: int, bins: int = BINS
) -> Float[Tensor, "batch rows columns channel_bins"]:
    """float32 histograms of `cell_size` px cells, those of the three channels one after another."""
    return cell_histograms(orientation_votes(images, bins), cell_size)


def orientation_votes(
    images: Float[Tensor, "batch 3 height width"], bins: int = BINS
) -> Float[Tensor, "batch 3 bins height width"]:
    """`votes_of` Sobel's differences."""
    return votes_of(*sobel(images), bins)


def votes_of(
    gx: Float[Tensor, "batch 3 height width"], gy: Float[Tensor, "batch 3 height width"], bins: int
) -> Float[Tensor, "batch 3 bins height width"]:
    """The gradient magnitude of each pixel and channel, in the one bin of its orientation, which is
    atan2(gx, gy) modulo π."""
    turns = torch.atan2(gx, gy) / math.pi * bins
    bin_of = turns.floor().long().remainder(bins).unsqueeze(2)
    magnitude = (gx.square() + gy.square()).sqrt().unsqueeze(2)
    votes = magnitude.new_zeros(*gx.shape[:2], bins, *gx.shape[2:])
    return votes.scatter_(2, bin_of, magnitude)


def sobel(
    images: Float[Tensor, "batch 3 height width"],
) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 3 height width"]]:
    """Sobel's differences (left − right, upper − lower) on an image that is mirrored at its border.

    float32 by single operations: autocast rounds no part of it.
    """
    padded = functional.pad(images.float(), (1, 1, 1, 1), mode="reflect")
    gx = _smooth(padded[..., :-2] - padded[..., 2:], dim=2)
    gy = _smooth(padded[..., :-2, :] - padded[..., 2:, :], dim=3)
    return gx, gy


def cell_histograms(
    votes: Float[Tensor, "batch 3 bins height width"], cell_size: int
) -> Float[Tensor, "batch rows columns channel_bins"]:
    """Votes of each cell, every channel's bins divided by their length; zero where there are none.

    `cell_size` divides the height and the width.
    """
    pooled = functional.avg_pool2d(votes.flatten(1, 2), cell_size).unflatten(1, votes.shape[1:3])
    return functional.normalize(pooled, dim=2).flatten(1, 2).permute(0, 2, 3, 1)


def glyphs(
    histograms: Float[Tensor, "*cells channel_bins"], side: int, bins: int = BINS
) -> Float[Tensor, "*cells side side"]:
    """A picture of each histogram: a stroke along every orientation's edge, as bright as its bin.

    Bins are averaged over channels; values are about [0, 1], negative predictions count as 0.
    """
    strength = histograms.float().unflatten(-1, (-1, bins)).mean(-2).clamp(min=0)
    angle = (torch.arange(bins, device=strength.device) + 0.5) * math.pi / bins
    offset = torch.arange(side, device=strength.device) - (side - 1) / 2
    # A gradient (gx, gy) = (sin, cos) of the angle stands at right angles on its edge.
    distance = (
        offset[None, None, :] * angle.sin()[:, None, None]
        + offset[None, :, None] * angle.cos()[:, None, None]
    )
    strokes = torch.exp(-2 * (distance / max(1.0, side / 8)).square())
    return torch.einsum("...b,bij->...ij", strength, strokes)


def _smooth(
    difference: Float[Tensor, "batch 3 rows columns"], dim: int
) -> Float[Tensor, "batch 3 height width"]:
    """Weights 1, 2, 1 across a difference, along the dimension that is still two longer."""
    count = difference.shape[dim] - 2
    before, here, after = (difference.narrow(dim, start, count) for start in range(3))
    return before + 2 * here + after
