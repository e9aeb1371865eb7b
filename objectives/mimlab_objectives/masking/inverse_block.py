"""Small visible blocks, scattered: data2vec 2.0's inverse block masking."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import bits
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import plan_of_hidden, repair
from mimlab_objectives.registry import Params, ParamsError


class InverseBlockParams(Params):
    ratio: RatioOrSchedule = 0.8
    """Fraction of the patches that is hidden, rounded up."""
    side: int = Field(default=3, ge=1)
    """Side of a visible block in patches; odd, since it lies around a patch."""
    adjust: float = Field(default=0.07, ge=0, lt=1)
    """Added to the visible share that blocks are scattered for, since they overlap."""


@maskings.register(
    "inverse_block", params=InverseBlockParams, paper="Baevski et al. 2022, arXiv:2212.07525"
)
class InverseBlock(Masking):
    """Scatters visible blocks, then shows or hides random patches until the count is exact.

    After a third-party copy of fairseq's routine (examples/data2vec); the official file was not
    read. Blocks are cut at the border. The plan says how many patches were moved.
    """

    def __init__(self, params: InverseBlockParams, grid: Grid) -> None:
        if params.side % 2 == 0:
            raise ParamsError(
                "side", f"a block lies around a patch: side must be odd, not {params.side}"
            )
        self.grid, self.params = grid, params
        self.tokens = grid[0] * grid[1]
        self.hidden = HiddenCount(params.ratio, self.tokens, unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Scatter, invert, repair."""
        keys, num_hidden = request.keys, self.hidden.at(request)
        hidden, moved = repair(~self.scattered(keys, num_hidden), num_hidden, keys)
        return plan_of_hidden(hidden, self.grid, keys, num_hidden=num_hidden, repaired=moved)

    def scattered(
        self, keys: Int[Tensor, " batch"], num_hidden: int
    ) -> Bool[Tensor, "batch tokens"]:
        """Patches in a block around one of the drawn centres; there is at least one centre."""
        share = 1 - num_hidden / self.tokens + self.params.adjust
        count = max(1, int(self.tokens * share / self.params.side**2))
        centres = bits(keys, count) % self.tokens
        rows, columns = self.grid
        down = torch.arange(rows, device=keys.device) - (centres // columns)[..., None]
        right = torch.arange(columns, device=keys.device) - (centres % columns)[..., None]
        reach = self.params.side // 2
        near = (down.abs() <= reach)[..., :, None] & (right.abs() <= reach)[..., None, :]
        return near.any(1).flatten(1)
