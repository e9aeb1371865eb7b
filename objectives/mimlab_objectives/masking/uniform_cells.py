"""One visible patch in every 2×2 cell, a part of them covered again: UM-MAE's uniform masking."""

from __future__ import annotations

import math

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import bits
from mimlab_objectives.masking.plan import (
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    maskings,
    num_hidden,
)
from mimlab_objectives.masking.ratio import Ratio
from mimlab_objectives.masking.select import highest, plan_of_hidden, with_replaced
from mimlab_objectives.registry import Params, ParamsError

_RATIO = 0.75

_PLACES = 0
_SECONDARY = 1


class UniformCellsParams(Params):
    ratio: Ratio = _RATIO
    """Fraction of the patches that is dropped: 0.75 is the only one that this masking has."""
    secondary: float = Field(default=0.25, ge=0, lt=1)
    """Fraction of the others, rounded up, that a mask token covers in the encoder; those are not
    predicted. 0 covers none and needs no mask token."""
    faithful: bool = False
    """Draw the places of an image's cells from a pool that has each of the four equally often, as
    the official code does, instead of independently."""


@maskings.register(
    "uniform_cells", params=UniformCellsParams, paper="Li et al. 2022, arXiv:2205.10063"
)
class UniformCells(Masking):
    """Keeps one patch of every 2×2 cell, at a place of its own; mask tokens cover some of these.

    As implus/UM-MAE, mask_transform.py and models_mae.py (the plain vision transformer): of 196
    patches 49 are kept, 13 of them as mask tokens with their positions, and the 147 others are
    predicted.
    """

    replaces = True

    def __init__(self, params: UniformCellsParams, grid: Grid) -> None:
        rows, columns = grid
        if params.ratio != _RATIO:
            raise ParamsError(
                "ratio",
                f"uniform_cells keeps one patch in four: ratio must be {_RATIO}, "
                f"not {params.ratio}",
            )
        if rows % 2 or columns % 2:
            raise ParamsError(
                "name",
                "uniform_cells needs an even number of rows and of columns, not "
                f"{rows}×{columns}: change image_size or the patch size, or take another masking",
            )
        self.grid = grid
        self.faithful = params.faithful
        self.num_cells = rows * columns // 4
        self.num_replaced = num_hidden(self.num_cells, params.secondary)
        if self.num_replaced == self.num_cells:
            raise ParamsError(
                "secondary",
                f"secondary {params.secondary} covers all {self.num_cells} kept patches: lower it",
            )
        self.replaces = self.num_replaced > 0
        self.num_hidden = 3 * self.num_cells + self.num_replaced

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Places of a cell are numbered 0 to 3 in reading order."""
        keys, (rows, columns) = request.keys, self.grid
        row = torch.arange(rows, device=keys.device)[:, None]
        column = torch.arange(columns, device=keys.device)
        place = (2 * (row % 2) + column % 2).flatten()  # (tokens,)
        cell = (row // 2 * (columns // 2) + column // 2).flatten()
        kept = self._places(keys)[:, cell] == place
        plan = plan_of_hidden(~kept, self.grid, keys, num_hidden=3 * self.num_cells)
        if not self.replaces:
            return plan
        covered = highest(kept.float(), self.num_replaced, keys, stream=_SECONDARY)
        return with_replaced(plan, covered, predicted=False)

    def _places(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, "batch cells"]:
        """Which patch of each cell stays."""
        if not self.faithful:
            return bits(keys, self.num_cells, _PLACES) & 3
        # The official pool has at least twice as many places as there are cells.
        pool = 4 * math.ceil(self.num_cells / 2)
        order = bits(keys, pool, _PLACES).argsort(dim=1, stable=True)
        return order[:, : self.num_cells] & 3
