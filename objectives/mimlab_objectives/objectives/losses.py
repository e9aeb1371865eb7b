"""Losses of one patch, by what is predicted."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

RegressionLoss = Literal["mse", "l1", "smooth_l1"]
"""Squared error, absolute error, or one that turns from the former to the latter at 1."""


def patch_losses(
    prediction: Float[Tensor, "batch rounds tokens target_dim"],
    target: Float[Tensor, "batch tokens target_dim"] | Int[Tensor, "batch tokens"],
    loss: RegressionLoss,
) -> Float[Tensor, "batch rounds tokens"]:
    """Loss of every patch, in float32: the mean over a vector, or the cross-entropy of a class.

    Whole numbers are classes, and `loss` does not count for them.
    """
    prediction, target = prediction.float(), target.unsqueeze(1)
    if not target.is_floating_point():
        target = target.expand(prediction.shape[:-1])
        return functional.cross_entropy(prediction.movedim(-1, 1), target, reduction="none")
    target = target.expand_as(prediction)
    if loss == "mse":
        return (prediction - target).square().mean(-1)
    if loss == "l1":
        return (prediction - target).abs().mean(-1)
    return functional.smooth_l1_loss(prediction, target, reduction="none").mean(-1)
