"""Uniform random cells of several patches, as in SimMIM (32-pixel cells of 16-pixel patches)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field

from mimlab_objectives.masking.plan import Count, Grid, MaskPlan, MaskRequest, Signal, maskings
from mimlab_objectives.masking.ratio import Ratio, checked_num_hidden
from mimlab_objectives.masking.select import highest, plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError


class CoarseParams(Params):
    ratio: Ratio = 0.6
    """Fraction of the cells that is hidden, rounded up to whole cells."""
    cell: int = Field(default=2, ge=1)
    """Side of a cell in patches; it must divide both sides of the grid."""


@maskings.register("coarse", params=CoarseParams, paper="Xie et al. 2021, arXiv:2111.09886")
class Coarse:
    """A uniform random subset of square cells; a cell is hidden as a whole.

    As microsoft/SimMIM, data/data_simmim.py. A cell of one patch is the masking `random`.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset()
    count: ClassVar[Count] = "exact"

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
        self.num_hidden_cells = checked_num_hidden(
            params.ratio, self.num_cells, unit=f"cells of {cell}×{cell} patches"
        )

    @property
    def num_hidden(self) -> int:
        """Hidden patches: whole cells."""
        return self.num_hidden_cells * self.cell**2

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw cells, then repeat each over its patches."""
        keys, cell = request.keys, self.cell
        score = torch.zeros(len(keys), self.num_cells, device=keys.device)
        cells = highest(score, self.num_hidden_cells, keys)
        cells = cells.unflatten(1, (-1, self.grid[1] // cell))  # (batch, cell rows, cell columns)
        hidden = cells.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        return plan_of_hidden(hidden.flatten(1), self.grid, num_hidden=self.num_hidden)
