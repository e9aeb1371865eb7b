"""Uniform random cells of several patches, as in SimMIM (32-pixel cells of 16-pixel patches)."""

from __future__ import annotations

import math

import torch
from pydantic import Field

from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import highest, plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError


class CoarseParams(Params):
    ratio: RatioOrSchedule = 0.6
    """Fraction of the cells that is hidden, rounded up to whole cells."""
    cell: int = Field(default=2, ge=1)
    """Side of a cell in patches; it must divide both sides of the grid."""


@maskings.register("coarse", params=CoarseParams, paper="Xie et al. 2021, arXiv:2111.09886")
class Coarse(Masking):
    """A uniform random subset of square cells; a cell is hidden as a whole.

    As microsoft/SimMIM, data/data_simmim.py. A cell of one patch is the masking `random`.
    """

    def __init__(self, params: CoarseParams, grid: Grid) -> None:
        cell, (rows, columns) = params.cell, grid
        if rows % cell or columns % cell:
            raise ParamsError(
                "cell",
                f"cells of {cell}×{cell} patches do not tile a {rows}×{columns} grid: "
                f"the cell must divide {math.gcd(rows, columns)}",
            )
        self.grid = grid
        self.cell = cell
        self.num_cells = (rows // cell) * (columns // cell)
        self.hidden_cells = HiddenCount(
            params.ratio, self.num_cells, unit=f"cells of {cell}×{cell} patches"
        )
        self.num_hidden = self.hidden_cells.mean * cell**2
        self.count = self.hidden_cells.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw cells, then repeat each over its patches."""
        keys, cell = request.keys, self.cell
        num_hidden = self.hidden_cells.at(request)
        score = torch.zeros(len(keys), self.num_cells, device=keys.device)
        cells = highest(score, num_hidden, keys)
        cells = cells.unflatten(1, (-1, self.grid[1] // cell))  # (batch, cell rows, cell columns)
        hidden = cells.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        return plan_of_hidden(hidden.flatten(1), self.grid, keys, num_hidden=num_hidden * cell**2)
