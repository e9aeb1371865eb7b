"""MaskAlign's attentive masking: patches are kept at random, by what a teacher attends to."""

from __future__ import annotations

from typing import ClassVar

from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, Signal, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import select
from mimlab_objectives.registry import Params

_LEAST_WAIT = 2.0**-25
"""Below every wait that 24 random bits give, and above 0, where 0 ÷ 0 would be no number."""


class AttentiveParams(Params):
    ratio: RatioOrSchedule = 0.7
    """Fraction of the patches that is hidden, rounded up."""


@maskings.register("attentive", params=AttentiveParams, paper="Xue et al. 2022, arXiv:2211.08887")
class Attentive(Masking):
    """Keeps patches drawn without replacement, with probabilities proportional to attention.

    As OpenDriveLab/maskalign, models_pretrain.py. Draws without replacement are a race: a patch
    arrives after an exponential wait of rate = attention, and the first ones are kept (the same law
    as the largest of log attention + Gumbel noise; Efraimidis and Spirakis, 2006). A patch without
    attention never arrives and is kept only where the others do not suffice.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset({"teacher_attention"})

    def __init__(self, params: AttentiveParams, grid: Grid) -> None:
        self.grid = grid
        self.hidden = HiddenCount(params.ratio, grid[0] * grid[1], unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Hide the last of the race; in float64, since log differs in its last bit by device."""
        attention = request.signals["teacher_attention"]
        draws = uniform(request.keys, attention.shape[1]).double()
        wait = -(1 - draws).log().clamp(max=-_LEAST_WAIT) / attention.double()
        return select(wait, self.hidden.at(request), request.keys, self.grid)
