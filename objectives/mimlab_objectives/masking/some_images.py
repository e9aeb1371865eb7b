"""Blocks in a part of the images, as iBOT and DINOv2 mask: parameters and plans of both."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.masking.block import BlockParams, Blocks
from mimlab_objectives.masking.plan import Grid, MaskPlan, num_hidden
from mimlab_objectives.masking.ratio import Ratio
from mimlab_objectives.masking.select import plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError


class SomeImagesParams(Params):
    ratio: Ratio = 0.3
    """Mean ratio of a masked image; each has its own."""
    spread: float = Field(default=0.2, ge=0, lt=0.5)
    """Ratios are uniform between `ratio` − `spread` and `ratio` + `spread`."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of the images that are masked at all."""
    aspect: float = Field(default=0.3, gt=0, le=1)
    """Height ÷ width of a rectangle is log-uniform between this and its inverse."""

    @property
    def least(self) -> float:
        """Smallest ratio of a masked image."""
        return round(self.ratio - self.spread, 12)

    @property
    def most(self) -> float:
        """Largest ratio of a masked image."""
        return round(self.ratio + self.spread, 12)


def blocks_of(params: SomeImagesParams, grid: Grid, min_area: int) -> Blocks:
    """Rectangles for the smallest of the ratios. Raises ParamsError."""
    if params.least <= 0 or params.most >= 1:
        widest = round(min(params.ratio, 1 - params.ratio), 4)
        raise ParamsError(
            "spread",
            f"ratios from {params.least} to {params.most} hide nothing or everything: "
            f"spread must be below {widest}",
        )
    return Blocks(BlockParams(ratio=params.least, min_area=min_area, aspect=params.aspect), grid)


def mean_hidden(params: SomeImagesParams, grid: Grid) -> int:
    """Hidden patches asked for, over masked and unmasked images."""
    return num_hidden(grid[0] * grid[1], round(params.ratio * params.share, 12))


def image_means(
    hidden: Bool[Tensor, "batch tokens"], grid: Grid, keys: Int[Tensor, " batch"]
) -> MaskPlan:
    """The plan in which every masked image weighs 1, however many patches it hides."""
    plan = plan_of_hidden(hidden, grid, keys, num_hidden=None)
    counts = plan.hidden.sum(2, keepdim=True).clamp(min=1)
    return replace(plan, weight=plan.hidden.float() / counts)
