"""Normalised images, and the same in [0, 1]."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

MEAN, STD = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
"""Of the three channels, as every method here uses them."""


def to_unit(
    images: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Normalised images as float32 in [0, 1]."""
    mean, std = _constants(images.device)
    return images.float() * std + mean


def from_unit(
    images: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """The inverse of `to_unit`."""
    mean, std = _constants(images.device)
    return (images - mean) / std


@functools.cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    # Once a device: a copy from the host in each step would wait for everything before it.
    return tuple(torch.tensor(value, device=device).view(3, 1, 1) for value in (MEAN, STD))  # pyright: ignore[reportReturnType]
