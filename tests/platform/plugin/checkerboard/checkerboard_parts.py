"""A masking, a target, an objective and a recipe that mimlab knows nothing of."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.select import select
from mimlab_objectives.objectives.base import (
    Batch,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.mae import Mae, MaeParams
from mimlab_objectives.recipes.base import Recipe, RecipeSettings, recipes
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, targets
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget


class CheckerboardParams(Params):
    colour: Literal["black", "white"] = "black"
    """Which fields are hidden; the upper left one is black."""


@maskings.register("checkerboard", params=CheckerboardParams, paper="none: an example")
class Checkerboard(Masking):
    """Hides the fields of one colour."""

    def __init__(self, params: CheckerboardParams, grid: Grid) -> None:
        if grid[0] * grid[1] % 2:
            raise ParamsError("name", "a checkerboard needs an even number of patches")
        self.grid = grid
        self.num_hidden = grid[0] * grid[1] // 2
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        self._hidden = (rows + columns).flatten() % 2 == (params.colour == "white")

    def plan(self, request: MaskRequest) -> MaskPlan:
        """The same for every image."""
        score = self._hidden.float().to(request.keys.device).expand(len(request.keys), -1)
        return select(score, self.num_hidden, request.keys, self.grid)


class NegativeParams(Params):
    """The negative has no parameters."""


@targets.register("negative", params=NegativeParams, paper="none: an example")
class Negative(PixelTarget):
    """Pixels with their sign changed."""

    def __init__(self, params: NegativeParams, patch_size: int, grid: Grid) -> None:  # noqa: ARG002
        super().__init__(PixelParams(norm="none"), patch_size, grid)

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        return -super().compute(images)


class ScaledMaeParams(MaeParams):
    scale: float = Field(default=2.0, gt=0)
    """The loss is multiplied by it."""


@objectives.register("scaled_mae", params=ScaledMaeParams, paper="none: an example")
class ScaledMae(Mae):
    """MAE with a louder loss."""

    def __init__(self, params: ScaledMaeParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.scale = params.scale

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:
        out = super().forward(batch, plan, progress)
        return ObjectiveOutput(out.loss_sum * self.scale, out.loss_count)


recipes.add(
    Recipe(
        name="checkers",
        module=__name__,
        summary="A loud MAE restores the negative of half a checkerboard.",
        paper="none: an example",
        settings=RecipeSettings(
            objective={"name": "scaled_mae", "scale": 3.0},
            target={"name": "negative"},
            masking={"name": "checkerboard"},
        ),
    )
)
