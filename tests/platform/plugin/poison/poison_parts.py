"""A target that one image poisons: what a team's own part may do on a rare sample."""

from __future__ import annotations

import torch
from pydantic import Field

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget


class PoisonParams(Params):
    sample: int = Field(default=-1, ge=-1)
    """Id of the image whose target is not finite; -1: of none."""


@targets.register("poison", params=PoisonParams, paper="none: for tests")
class Poison(PixelTarget):
    """Pixels, but for one image."""

    def __init__(self, params: PoisonParams, patch_size: int, grid: Grid) -> None:
        super().__init__(PixelParams(), patch_size, grid)
        self.sample = params.sample

    def of(self, batch: Batch) -> torch.Tensor:
        values = super().of(batch).clone()
        values[(batch.ids == self.sample).to(values.device)] = torch.nan
        return values
