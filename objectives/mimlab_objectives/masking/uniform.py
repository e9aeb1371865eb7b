"""Uniform random patches, as in MAE: the baseline of every comparison."""

from __future__ import annotations

from typing import ClassVar

import torch

from mimlab_objectives.masking.plan import Count, Grid, MaskPlan, MaskRequest, Signal, maskings
from mimlab_objectives.masking.ratio import Ratio, checked_num_hidden
from mimlab_objectives.masking.select import select
from mimlab_objectives.registry import Params


class RandomParams(Params):
    ratio: Ratio = 0.75
    """Fraction of the patches that is hidden, rounded up."""


@maskings.register("random", params=RandomParams, paper="He et al. 2021, arXiv:2111.06377")
class Random:
    """A uniform random subset of the patches.

    As facebookresearch/mae, models_mae.py, except that kept patches stay in reading order: no
    attention layer can tell, and every masking gives the same form.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset()
    count: ClassVar[Count] = "exact"

    def __init__(self, params: RandomParams, grid: Grid) -> None:
        self.grid = grid
        self.num_hidden = checked_num_hidden(params.ratio, grid[0] * grid[1], unit="patches")

    def plan(self, request: MaskRequest) -> MaskPlan:
        """All scores are equal, so that the random tie-break alone decides."""
        keys = request.keys
        score = torch.zeros(len(keys), self.grid[0] * self.grid[1], device=keys.device)
        return select(score, self.num_hidden, keys, self.grid)
