"""One block of an exact count, hidden or visible, anywhere on the torus: CAPI's masking."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import highest, plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError

_BLOCK = 0
_PREDICTED = 1


class CapiBlockParams(Params):
    ratio: RatioOrSchedule = 0.65
    """Fraction of the patches that is hidden, rounded up."""
    aspect: float = Field(default=0.5, gt=0, le=1)
    """Height ÷ width of the block is log-uniform between this and its inverse."""
    inverse: bool = True
    """The block is what is visible, instead of what is hidden."""
    roll: bool = True
    """Shift the mask cyclically, so that every patch is hidden equally often."""
    predicted: float = Field(default=1.0, gt=0, le=1)
    """Share of the hidden patches, drawn for each image, that are predicted; the paper's is 0.05,
    rounded down."""


@maskings.register(
    "capi_block", params=CapiBlockParams, paper="Darcet et al. 2025, arXiv:2502.08769"
)
class CapiBlock(Masking):
    """One rectangle with an exact number of patches; the end of its last rows is cut.

    As facebookresearch/capi, data.py, but for the rounding: there 127 of 196 patches are hidden at
    ratio 0.65, here 128.
    """

    def __init__(self, params: CapiBlockParams, grid: Grid) -> None:
        self.grid, self.params = grid, params
        self.tokens = grid[0] * grid[1]
        self.hidden = HiddenCount(params.ratio, self.tokens, unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count
        for num_hidden in {self.hidden.least, self.hidden.most}:
            self._check(self._area(num_hidden))

    def _area(self, num_hidden: int) -> int:
        return self.tokens - num_hidden if self.params.inverse else num_hidden

    def _check(self, area: int) -> None:
        low, high = self._aspects(area)
        if low > high:
            rows, columns = self.grid
            legal = math.floor(min(rows, columns) ** 2 / area * 10_000) / 10_000
            raise ParamsError(
                "aspect",
                f"no block of {area} patches with an aspect from {self.params.aspect} to its "
                f"inverse fits into {rows}×{columns} patches: aspect may be at most {legal}",
            )

    def _aspects(self, area: int) -> tuple[float, float]:
        """Least and largest aspect of a block that fits into the grid."""
        rows, columns = self.grid
        low, high = self.params.aspect, 1 / self.params.aspect
        return max(low, area / columns**2), min(high, rows**2 / area)

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw a block; of what is hidden, perhaps only a part is predicted."""
        keys, num_hidden = request.keys, self.hidden.at(request)
        block = self._blocks(keys, self._area(num_hidden))
        hidden = ~block if self.params.inverse else block
        plan = plan_of_hidden(hidden, self.grid, keys, num_hidden=num_hidden)
        if self.params.predicted == 1:
            return plan
        count = max(1, int(num_hidden * self.params.predicted))
        predicted = highest(hidden.float(), count, keys, stream=_PREDICTED)[:, None]
        return replace(plan, predicted=predicted, weight=predicted.float())

    def _blocks(self, keys: Int[Tensor, " batch"], area: int) -> Bool[Tensor, "batch tokens"]:
        """Rectangles whose last rows end where `area` patches are reached.

        Placed and then shifted by any number of rows and columns, the corner of a block is uniform
        over the torus: one draw serves for both.
        """
        rows, columns = self.grid
        draws = uniform(keys, 3, _BLOCK).double()
        low, high = self._aspects(area)
        # On the CPU, since exp differs in its last bit between devices.
        log_aspect = math.log(low) + (math.log(high) - math.log(low)) * draws[:, 0].cpu()
        aspect = log_aspect.exp().to(keys.device)
        height = (area * aspect).sqrt().ceil().long().clamp(max=rows)
        width = (area / aspect).sqrt().ceil().long().clamp(max=columns)
        places = (rows, columns) if self.params.roll else (rows - height + 1, columns - width + 1)
        top, left = (draws[:, 1] * places[0]).long(), (draws[:, 2] * places[1]).long()
        down = (torch.arange(rows, device=keys.device) - top[:, None]) % rows
        right = (torch.arange(columns, device=keys.device) - left[:, None]) % columns
        height, width = height[:, None], width[:, None]
        inside = (down < height)[:, :, None] & (right < width)[:, None, :]
        number = down[:, :, None] * width[:, :, None] + right[:, None, :]
        return (inside & (number < area)).flatten(1)
