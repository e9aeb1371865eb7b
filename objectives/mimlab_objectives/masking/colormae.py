"""Where coloured noise is low, patches are hidden: ColorMAE's masking."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mimlab_objectives.keys import bits
from mimlab_objectives.masking.noise import SIDE, SLICES, Colour, bank_of
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import select
from mimlab_objectives.registry import Params, ParamsError


class ColorMaeParams(Params):
    ratio: RatioOrSchedule = 0.75
    """Fraction of the patches that is hidden, rounded up."""
    color: Colour = "green"
    """white (as `random`), red (large patterns), green (medium ones), blue (evenly spread) or
    purple (even more so)."""
    faithful: bool = False
    """One window and flip for a whole batch, of the first slices in their order, as the official
    code has it, instead of a slice, a window and a flip for each image."""


@maskings.register(
    "colormae", params=ColorMaeParams, paper="Hinojosa et al. 2024, arXiv:2407.13036"
)
class ColorMae(Masking):
    """Keeps the patches where a window of filtered noise is highest.

    After carlosh93/ColorMAE, models/utils/masking_generator.py. Its noise is published without the
    generator; `noise` says what stands in its place. Equal noise is ordered by the image's key.
    """

    def __init__(self, params: ColorMaeParams, grid: Grid) -> None:
        if max(grid) > SIDE:
            raise ParamsError(
                "name",
                f"the noise of colormae has {SIDE}×{SIDE} patches, less than the grid of "
                f"{grid[0]}×{grid[1]}: take larger patches or another masking",
            )
        self.grid, self.params = grid, params
        self.couples_batch = params.faithful
        self.hidden = HiddenCount(params.ratio, grid[0] * grid[1], unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Rank each image's window of the noise."""
        keys = request.keys
        score = -self.windows(request).to(keys.device).flatten(1).float()
        return select(score, self.hidden.at(request), keys, self.grid)

    def windows(self, request: MaskRequest) -> Int[Tensor, "batch rows columns"]:
        """The noise of each image, on the CPU."""
        draws = bits(request.keys.cpu(), 5)
        slices = draws[:, 0] % SLICES
        if self.params.faithful:
            slices = torch.arange(len(draws)) % SLICES
            draws = bits(torch.tensor([request.step_key]), 5).expand_as(draws)
        down, right = (
            (draws[:, 1 + i, None] + _order(draws[:, 3 + i, None], size)) % SIDE
            for i, size in enumerate(self.grid)
        )
        return bank_of(self.params.color)[slices[:, None, None], down[:, :, None], right[:, None]]


def _order(draw: Int[Tensor, "batch 1"], size: int) -> Int[Tensor, "batch size"]:
    """0 to size − 1, from the end where a drawn bit says so."""
    place = torch.arange(size)
    return torch.where(draw & 1 == 1, place.flip(0), place)
