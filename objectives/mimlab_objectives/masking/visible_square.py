"""Everything but one square is hidden: the `block` option of HPM's code."""

from __future__ import annotations

import math

import torch

from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import Ratio, checked_num_hidden
from mimlab_objectives.masking.select import plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError


class VisibleSquareParams(Params):
    ratio: Ratio = 0.75
    """Fraction of the patches that is hidden; the number of the others must be a square."""
    faithful: bool = False
    """Draw the corner from the upper left quarter, as the official code does, instead of from
    every place where the square fits: the lower and right edge are seen less."""


@maskings.register(
    "visible_square", params=VisibleSquareParams, paper="Wang et al. 2023, arXiv:2304.05919"
)
class VisibleSquare(Masking):
    """One square of visible patches; the extreme of clustered masks, and simple to see through.

    After Haochen-Wang409/HPM, mask_transform.py: 7×7 of 14×14 patches. There, on other grids, the
    border may cut the square; here such a setting is refused, so that counts are exact.
    """

    def __init__(self, params: VisibleSquareParams, grid: Grid) -> None:
        rows, columns = grid
        tokens = rows * columns
        self.grid = grid
        self.num_hidden = checked_num_hidden(params.ratio, tokens, unit="patches")
        kept = tokens - self.num_hidden
        self.side = side = math.isqrt(kept)
        if side**2 != kept or side > min(grid):
            sides = range(1, min(grid) + 1)
            legal = {s**2: (tokens - s**2) / tokens for s in sides if s**2 < tokens}
            near = sorted(legal, key=lambda count: abs(count - kept))[:2]
            ratios = " or ".join(str(math.floor(legal[n] * 10_000) / 10_000) for n in sorted(near))
            raise ParamsError(
                "ratio",
                f"ratio {params.ratio} keeps {kept} patches, which form no square on a "
                f"{rows}×{columns} grid; {ratios or 'no ratio'} would",
            )
        self.places = (rows - side + 1, columns - side + 1)
        if params.faithful:
            halves = (max(rows // 2, 1), max(columns // 2, 1))
            if any(half > fit for half, fit in zip(halves, self.places, strict=True)):
                raise ParamsError(
                    "faithful",
                    f"the official corners would let the border cut a square of {side}×{side} "
                    f"patches on a {rows}×{columns} grid: set faithful to false",
                )
            self.places = halves

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw the upper left corner."""
        keys, (rows, columns) = request.keys, self.grid
        places = torch.tensor(self.places, device=keys.device)
        top, left = (uniform(keys, 2) * places).long().unbind(1)
        down = torch.arange(rows, device=keys.device) - top[:, None]
        right = torch.arange(columns, device=keys.device) - left[:, None]
        inside = ((down >= 0) & (down < self.side))[:, :, None]
        visible = inside & ((right >= 0) & (right < self.side))[:, None, :]
        return plan_of_hidden(~visible.flatten(1), self.grid, keys, num_hidden=self.num_hidden)
