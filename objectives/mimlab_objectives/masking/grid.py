"""Grid-wise: one visible patch in every 2×2 cell, MAE's ablation."""

from __future__ import annotations

from typing import Literal

import torch

from mimlab_objectives.keys import bits
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import Ratio
from mimlab_objectives.masking.select import plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError

_RATIO = 0.75


class GridParams(Params):
    ratio: Ratio = _RATIO
    """Fraction of the patches that is hidden: 0.75 is the only one that this masking has."""
    offset: Literal["fixed", "random"] = "random"
    """Which patch of a cell stays: the upper left one, or one place drawn for each image."""


@maskings.register("grid", params=GridParams, paper="He et al. 2021, arXiv:2111.06377, table 1f")
class GridWise(Masking):
    """Keeps the patch at the same place of every 2×2 cell.

    The paper says that one patch in four is kept regularly, not which; its released code has no
    such mode. `offset` covers both readings.
    """

    def __init__(self, params: GridParams, grid: Grid) -> None:
        rows, columns = grid
        if params.ratio != _RATIO:
            raise ParamsError(
                "ratio",
                f"grid masking keeps one patch in four: ratio must be {_RATIO}, not {params.ratio}",
            )
        if rows % 2 or columns % 2:
            raise ParamsError(
                "name",
                f"grid masking needs an even number of rows and of columns, not {rows}×{columns}: "
                "change image_size or the patch size, or take another masking",
            )
        self.grid = grid
        self.offset = params.offset
        self.num_hidden = rows * columns // 4 * 3

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Places of a cell are numbered 0 to 3 in reading order; 0 is the fixed one."""
        rows, columns = self.grid
        keys = request.keys
        row = torch.arange(rows, device=keys.device) % 2
        column = torch.arange(columns, device=keys.device) % 2
        place = (2 * row[:, None] + column).flatten()  # (tokens,)
        kept = bits(keys, 1) & 3 if self.offset == "random" else keys[:, None] * 0
        return plan_of_hidden(place != kept, self.grid, request.keys, num_hidden=self.num_hidden)
