"""Which code a point is nearest to, and sums over the points of a code.

Points may lie elsewhere than the codebook: a block of them is with it at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mimlab_objectives.tokenizers.precision import full_precision

_DISTANCES = 1 << 24
"""Distances that are held at once."""


def block_size(vocabulary: int) -> int:
    """Points that are compared with all codes at once."""
    return max(1, _DISTANCES // vocabulary)


def nearest(
    points: Float[Tensor, "points dim"], codebook: Float[Tensor, "vocabulary dim"]
) -> Int[Tensor, " points"]:
    """The code that each point is nearest to in Euclidean distance: all are compared, in float32,
    under autocast too. Where all codes have length 1 it is also the nearest in angle."""
    centre = codebook.mean(0)  # around it, numbers are small and their squares exact enough
    around = codebook - centre
    with full_precision(codebook.device):
        half = around.square().sum(1) / 2
        parts = (_beside(part, codebook) for part in points.split(block_size(len(codebook))))
        return torch.cat([(half - (part - centre) @ around.T).argmin(1) for part in parts])


def sum_by_code(
    values: Float[Tensor, "points dim"], codes: Int[Tensor, " points"], vocabulary: int
) -> Float[Tensor, "vocabulary dim"]:
    """The sum of each code's values, in their order: the same on every run, on a GPU too, where
    `index_add` adds in any order."""
    lengths = codes.bincount(minlength=vocabulary)
    ordered = values[codes.argsort(stable=True)]
    return torch.segment_reduce(ordered, "sum", lengths=lengths, initial=0)


@dataclass(frozen=True)
class Assignment:
    """What one pass over all points gives; everything lies beside the codebook."""

    codes: Int[Tensor, " points"]
    """The nearest code of each."""
    squared_distances: Float[Tensor, " points"]
    """From each point to its code."""
    counts: Int[Tensor, " vocabulary"]
    """Points of each code."""
    means: Float[Tensor, "vocabulary dim"]
    """Of each code's points; the code itself where it has none."""


def assign(
    points: Float[Tensor, "points dim"], codebook: Float[Tensor, "vocabulary dim"]
) -> Assignment:
    """Give every point its nearest code."""
    vocabulary = len(codebook)
    codes, distances, sums = [], [], torch.zeros_like(codebook)
    for part in points.split(block_size(vocabulary)):
        beside = _beside(part, codebook)
        own = nearest(beside, codebook)
        codes.append(own)
        distances.append((beside - codebook[own]).square().sum(1))
        sums += sum_by_code(beside, own, vocabulary)
    found = torch.cat(codes)
    counts = found.bincount(minlength=vocabulary)
    used = (counts > 0)[:, None]
    means = torch.where(used, sums / counts.clamp(min=1)[:, None], codebook)
    return Assignment(found, torch.cat(distances), counts, means)


def _beside(part: Tensor, codebook: Tensor) -> Float[Tensor, "block dim"]:
    return part.to(codebook.device).float()
