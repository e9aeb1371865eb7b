"""uint8 pixels to what networks take, on the device that they are on."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mimlab_objectives.images import MEAN, STD


def normalise(
    pixels: UInt8[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """Scale to [0, 1], subtract the mean, divide by the deviation; channels first, float32."""
    mean, scale = _constants(pixels.device)
    return (pixels.permute(0, 3, 1, 2).float() - mean).mul_(scale).contiguous()


def to_pixels(
    images: Float[Tensor, "batch 3 height width"],
) -> UInt8[Tensor, "batch height width 3"]:
    """The inverse of `normalise`, rounded and clipped."""
    mean, scale = _constants(images.device)
    return (images / scale + mean).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@functools.cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    # Once a device: a copy from the host in each step would wait for everything before it.
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1) * 255
    scale = 1 / (torch.tensor(STD, device=device).view(3, 1, 1) * 255)
    return mean, scale
