"""Pixels of each patch, as they are or standardised patch by patch."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind, targets

_EPSILON = 1e-6  # facebookresearch/mae, models_mae.py, forward_loss


def patchify(
    images: Float[Tensor, "batch 3 height width"], patch_size: int
) -> Float[Tensor, "batch tokens patch_dim"]:
    """Cut images into patches; numbers inside a patch are ordered (row, column, channel), as MAE's.

    Raises RuntimeError if `patch_size` does not divide the image.
    """
    cut = images.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(
    patches: Float[Tensor, "batch tokens patch_dim"], patch_size: int, grid: Grid
) -> Float[Tensor, "batch 3 height width"]:
    """The inverse of `patchify`."""
    cut = patches.unflatten(2, (patch_size, patch_size, 3)).unflatten(1, grid)
    return cut.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


class PixelParams(Params):
    """How pixels become a target."""

    norm: Literal["none", "patch"] = "patch"
    """`patch`: each patch minus its mean, over its deviation (MAE); `none`: as they are."""


@targets.register("pixels", params=PixelParams, paper="He et al., 2022 (arXiv:2111.06377)")
class PixelTarget(Target):
    """Normalised pixels of each patch.

    With `norm: patch`, mean and unbiased variance run over space and channels together and 1e-6 is
    added to the variance, so that predicting 0 costs (D - 1) / D in squared error (D = 3 · patch²).
    """

    kind: ClassVar[TargetKind] = "pixels"

    def __init__(self, params: PixelParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        self.norm = params.norm
        self.dim = 3 * patch_size**2

    @torch.no_grad()
    def compute(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens patch_dim"]:
        """float32 targets of every patch."""
        patches = patchify(images.float(), self.patch_size)
        if self.norm == "none":
            return patches
        mean, std = _statistics(patches)
        return (patches - mean) / std

    @torch.no_grad()
    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens patch_dim"],
        images: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Normalised pixels; with `norm: patch` they borrow the true patch's mean and deviation."""
        if self.norm == "none":
            return prediction.float()
        mean, std = _statistics(patchify(images.float(), self.patch_size))
        return prediction.float() * std.unsqueeze(1) + mean.unsqueeze(1)


def _statistics(
    patches: Float[Tensor, "batch tokens patch_dim"],
) -> tuple[Float[Tensor, "batch tokens 1"], Float[Tensor, "batch tokens 1"]]:
    var, mean = torch.var_mean(patches, dim=-1, correction=1, keepdim=True)
    return mean, (var + _EPSILON).sqrt()
