"""What a probe reads: pooled tokens, or the pixels that any encoder should beat."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

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


def pixel_features(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
    """Raw pixels as features: the baseline without any learning."""
    return images.flatten(1).float()
