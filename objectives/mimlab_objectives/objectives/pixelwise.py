"""Losses of single pixels, where patches are degraded in part."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from mimlab_objectives.targets.pixels import patchify


def changed_pixel_losses(
    prediction: Float[Tensor, "batch 1 tokens patch_dim"],
    target: Float[Tensor, "batch tokens patch_dim"],
    changed: Bool[Tensor, "batch 1 height width"],
    patch_size: int,
) -> Float[Tensor, "batch 1 tokens"]:
    """Absolute error of each patch, averaged over its changed pixels; 0 where there are none.

    Under weights that are the changed share of each patch, as a plan that changes pixels has them,
    the weighted mean of these is the mean over all changed pixels of the batch.
    """
    counted = patchify(changed.float().expand(-1, 3, -1, -1), patch_size)[:, None]
    error = (prediction.float() - target[:, None]).abs() * counted
    return error.sum(-1) / counted.sum(-1).clamp(min=1)
