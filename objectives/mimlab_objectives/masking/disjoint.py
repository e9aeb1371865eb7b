"""Disjoint masks of one view: what one round keeps, the others hide."""

from __future__ import annotations

import torch
from pydantic import Field

from mimlab_objectives.keys import fold
from mimlab_objectives.masking.cells import Cells
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import highest, join_rounds, plan_of_hidden
from mimlab_objectives.registry import Params


class DisjointParams(Params):
    ratio: RatioOrSchedule = 0.6
    """Fraction of the cells that each round hides, rounded up to whole cells."""
    rounds: int = Field(default=2, ge=2)
    """Masks of one view."""
    cell: int = Field(default=2, ge=1)
    """Side of a cell in patches; it must divide both sides of the grid."""


@maskings.register("disjoint", params=DisjointParams, paper="Ma et al. 2022, arXiv:2301.00230")
class Disjoint(Masking):
    """Several masks of each image; every round hides first what was hidden least often before.

    As mx-mark/DMJD, models_dmjd.py with a prediction rate of 1, for any number of rounds: from a
    ratio of one half on, two rounds hide everything once, and what the first keeps is hidden by
    the second.
    """

    def __init__(self, params: DisjointParams, grid: Grid) -> None:
        self.grid = grid
        self.cells = Cells(params.cell, grid)
        self.hidden_cells = HiddenCount(params.ratio, self.cells.number, unit=self.cells.unit)
        self.rounds = params.rounds
        self.num_hidden = self.hidden_cells.mean * params.cell**2
        self.count = self.hidden_cells.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Round by round, ties broken by a key of the image and the round."""
        num_hidden = self.hidden_cells.at(request)
        times = torch.zeros(len(request.keys), self.cells.number, device=request.keys.device)
        plans = []
        for number in range(self.rounds):
            cells = highest(-times, num_hidden, fold(request.keys, number))
            times = times + cells
            plans.append(
                plan_of_hidden(
                    self.cells.spread(cells),
                    self.grid,
                    request.keys,
                    num_hidden=num_hidden * self.cells.side**2,
                )
            )
        return join_rounds(plans)
