"""Uniform random cells of several patches, as in SimMIM (32-pixel cells of 16-pixel patches)."""

from __future__ import annotations

import torch
from pydantic import Field

from mimlab_objectives.masking.cells import Cells
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import highest, plan_of_hidden
from mimlab_objectives.registry import Params


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
        self.grid = grid
        self.cells = Cells(params.cell, grid)
        self.hidden_cells = HiddenCount(params.ratio, self.cells.number, unit=self.cells.unit)
        self.num_hidden = self.hidden_cells.mean * params.cell**2
        self.count = self.hidden_cells.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw cells, then repeat each over its patches."""
        keys, num_hidden = request.keys, self.hidden_cells.at(request)
        score = torch.zeros(len(keys), self.cells.number, device=keys.device)
        hidden = self.cells.spread(highest(score, num_hidden, keys))
        num_hidden *= self.cells.side**2
        return plan_of_hidden(hidden, self.grid, keys, num_hidden=num_hidden)
