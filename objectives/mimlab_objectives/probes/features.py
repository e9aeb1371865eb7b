"""What a probe reads: pooled tokens, or the pixels that any encoder should beat."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Pooling = Literal["mean", "cls"]


def pool(
    tokens: Float[Tensor, "batch sequence dim"], num_prefix: int, how: Pooling
) -> Float[Tensor, "batch dim"]:
    """One vector an image: the mean of its patch tokens, or its class token.

    `tokens` is (prefix, patches). Raises ValueError for `cls` where there is no prefix.
    """
    if how == "mean":
        return tokens[:, num_prefix:].mean(1)
    if num_prefix == 0:
        raise ValueError("this backbone has no class token; pool the mean of its patches instead")
    return tokens[:, 0]


PIXELS_SIDE = 32
"""Larger images are averaged down to it: 224 px would be 150,528 numbers an image."""


def pixel_features(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
    """Raw pixels as features, at most 32 × 32 of them: the baseline without any learning."""
    if max(images.shape[-2:]) > PIXELS_SIDE:
        images = functional.adaptive_avg_pool2d(images.float(), PIXELS_SIDE)
    return images.flatten(1).float()
