"""Features as colours: their three principal components, for boards."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_COLOURS = 3


@torch.no_grad()
def feature_pixels(
    features: Float[Tensor, "batch rounds tokens dim"],
    shown: Bool[Tensor, "batch rounds tokens"],
    patch_size: int,
) -> Float[Tensor, "batch rounds tokens patch_dim"]:
    """Normalised pixels of patches of one colour each: the first principal components of the
    features that are `shown` as red, green and blue, each with deviation 1.

    The largest channel of an axis counts as positive, so that equal features have equal colours.
    """
    weight = shown.flatten().float().unsqueeze(-1)
    total = weight.sum().clamp(min=1)
    tokens = features.float().flatten(0, 2)
    centred = tokens - (tokens * weight).sum(0) / total
    _, axes = torch.linalg.eigh((centred * weight).mT @ centred)  # least variance first
    axes = axes[:, -_COLOURS:].flip(1)  # (dim, colours)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    colours = centred @ (axes * largest.sign())
    deviation = ((colours * weight).square().sum(0) / total).sqrt()
    colours = colours / (deviation + 1e-6)
    return colours.repeat(1, patch_size**2).unflatten(0, features.shape[:3])
