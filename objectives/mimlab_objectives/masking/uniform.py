"""Uniform random patches, as in MAE: the baseline of every comparison."""

from __future__ import annotations

import torch

from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import select
from mimlab_objectives.registry import Params


class RandomParams(Params):
    ratio: RatioOrSchedule = 0.75
    """Fraction of the patches that is hidden, rounded up."""


@maskings.register("random", params=RandomParams, paper="He et al. 2021, arXiv:2111.06377")
class Random(Masking):
    """A uniform random subset of the patches.

    As facebookresearch/mae, models_mae.py, except that kept patches stay in reading order: no
    attention layer can tell, and every masking gives the same form.
    """

    def __init__(self, params: RandomParams, grid: Grid) -> None:
        self.grid = grid
        self.hidden = HiddenCount(params.ratio, grid[0] * grid[1], unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """All scores are equal, so that the random tie-break alone decides."""
        keys = request.keys
        score = torch.zeros(len(keys), self.grid[0] * self.grid[1], device=keys.device)
        return select(score, self.hidden.at(request), keys, self.grid)
