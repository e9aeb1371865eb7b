"""A2MIM's masking: hidden cells take the mean colour of their image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from mimlab_objectives.masking.coarse import Coarse, CoarseParams
from mimlab_objectives.masking.pixel_corruption import PixelCorruption
from mimlab_objectives.masking.plan import (
    Application,
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    maskings,
)


@dataclass(frozen=True)
class MeanFill(PixelCorruption):
    """Whole patches in the mean colour of all pixels of the image, hidden ones included."""

    patches: Bool[Tensor, "batch rows columns"]

    def changed(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """Every pixel of a hidden patch."""
        side = images.shape[2] // self.patches.shape[1]
        return self.patches.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None]

    def fill(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 1 1"]:
        """The mean over space of each channel."""
        return images.mean((2, 3), keepdim=True)


class MeanFillParams(CoarseParams):
    """Those of the cells."""


@maskings.register("mean_fill", params=MeanFillParams, paper="Li et al. 2022, arXiv:2205.13943")
class MeanFillCells(Masking):
    """Random cells, as in SimMIM, that are painted in the image's mean colour.

    As Westlake-AI/openmixup, openmixup/datasets/pipelines/transforms.py, where it masks tensors;
    its branch for PIL images paints what is visible, which is taken for a mistake.
    """

    application: ClassVar[Application] = "pixels"

    def __init__(self, params: MeanFillParams, grid: Grid) -> None:
        self.coarse = Coarse(params, grid)
        self.num_hidden, self.count = self.coarse.num_hidden, self.coarse.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """The cells of `coarse`."""
        plan = self.coarse.plan(request)
        return replace(plan, corruption=MeanFill(plan.hidden[:, 0].unflatten(1, plan.grid)))
