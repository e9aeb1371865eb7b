"""A ratio that varies while the encoder's length does not: MAGE's masking."""

from __future__ import annotations

import torch
from pydantic import Field

from mimlab_objectives.masking.drawn_schedules import TruncatedNormalRatio
from mimlab_objectives.masking.plan import (
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    maskings,
    num_hidden,
)
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import highest, plan_of_hidden, with_replaced
from mimlab_objectives.registry import Params, ParamsError


class MageParams(Params):
    ratio: RatioOrSchedule = TruncatedNormalRatio(name="truncated_normal")
    """Fraction of the patches that is hidden, rounded up; a schedule may reach 1."""
    dropped: float = Field(default=0.5, gt=0, lt=1)
    """Fraction that the encoder is not given at all, rounded up; mask tokens cover the rest of what
    is hidden."""


@maskings.register("mage", params=MageParams, paper="Li et al. 2022, arXiv:2211.09117")
class Mage(Masking):
    """Uniform random patches; half of all are dropped, the other hidden ones are mask tokens.

    As LTH14/mage, models_mage.py. There, the class token's output fills the decoder instead of a
    token of its own: that is the objective's matter.
    """

    replaces = True

    def __init__(self, params: MageParams, grid: Grid) -> None:
        tokens = grid[0] * grid[1]
        self.grid = grid
        self.hidden = HiddenCount(params.ratio, tokens, unit="patches", or_all=True)
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count
        self.num_dropped = num_hidden(tokens, params.dropped)
        if self.num_dropped == tokens:
            raise ParamsError(
                "dropped", f"dropped {params.dropped} leaves none of the {tokens} patches: lower it"
            )
        if self.hidden.least < self.num_dropped:
            raise ParamsError(
                "dropped",
                f"ratio {params.ratio} hides only {self.hidden.least} patches at least, and "
                f"{self.num_dropped} of them are to be dropped: raise ratio or lower dropped",
            )

    def plan(self, request: MaskRequest) -> MaskPlan:
        """One order of the patches: the first are dropped, the next replaced."""
        keys = request.keys
        score = torch.zeros(len(keys), self.grid[0] * self.grid[1], device=keys.device)
        dropped = highest(score, self.num_dropped, keys)
        hidden = highest(score, self.hidden.at(request), keys)
        plan = plan_of_hidden(dropped, self.grid, keys, num_hidden=self.num_dropped)
        return with_replaced(plan, hidden & ~dropped, predicted=True)
