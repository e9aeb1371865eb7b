"""Hard patches mining: hide what is predicted to be hard to reconstruct, more of it with time."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, Signal, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import highest, select
from mimlab_objectives.registry import Params


class HardPatchesParams(Params):
    ratio: RatioOrSchedule = 0.75
    """Fraction of the patches that is hidden, rounded up."""
    start: float = Field(default=0.0, ge=0, le=1)
    """Share of the hidden patches that are the hardest ones, at the beginning."""
    end: float = Field(default=0.5, ge=0, le=1)
    """The same at the end of the budget; it moves evenly, from easy to hard."""


@maskings.register("hard_patches", params=HardPatchesParams, paper="Wang et al., arXiv:2304.05919")
class HardPatches(Masking):
    """Hides the patches of highest predicted loss, and a uniform random subset of the others.

    As Haochen-Wang409/HPM, engine_pretrain.py and models_mae_learn_loss.py, whose share moves once
    an epoch; here it moves with every step.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset({"patch_loss"})

    def __init__(self, params: HardPatchesParams, grid: Grid) -> None:
        self.params, self.grid = params, grid
        self.hidden = HiddenCount(params.ratio, grid[0] * grid[1], unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """The hard ones come first; the others are equal, so that the random tie-break decides."""
        num_hidden = self.hidden.at(request)
        share = self.params.start + (self.params.end - self.params.start) * request.progress
        hard = highest(request.signals["patch_loss"], int(num_hidden * share), request.keys)
        return select(hard.float(), num_hidden, request.keys, self.grid)
