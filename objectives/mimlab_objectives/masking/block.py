"""Block-wise masking, as in BEiT: rectangles until the count is reached."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Bool, Float, Int, Real
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.plan import Count, Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import plan_of_hidden, repair
from mimlab_objectives.registry import Params, ParamsError

_TRIES = 10
"""Refused rectangles in a row that end an image (microsoft/unilm, beit/masking_generator.py)."""

_LEVELS = 4096
"""Steps of the log-uniform aspect. A table, since exp differs in its last bit between devices."""


class BlockParams(Params):
    ratio: RatioOrSchedule = 0.4
    """Fraction of the patches that is hidden, rounded up."""
    min_area: int = Field(default=16, ge=1)
    """Smallest area that is drawn for a rectangle, in patches."""
    aspect: float = Field(default=0.3, gt=0, le=1)
    """Height ÷ width of a rectangle is log-uniform between this and its inverse."""


@maskings.register("block", params=BlockParams, paper="Peng et al. 2022, arXiv:2208.06366")
class Block(Masking):
    """Rectangles, repaired by random patches to an exact count, as in BEiT v2.

    As microsoft/unilm, beit2/masking_generator.py. The plan says how many patches were moved.
    """

    def __init__(self, params: BlockParams, grid: Grid) -> None:
        self.blocks = Blocks(params, grid)
        self.num_hidden, self.count = self.blocks.hidden.mean, self.blocks.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw rectangles, then repair the count."""
        keys, num_hidden = request.keys, self.blocks.hidden.at(request)
        hidden, moved = repair(self.blocks.draw(keys, num_hidden), num_hidden, keys)
        return plan_of_hidden(hidden, self.blocks.grid, keys, num_hidden=num_hidden, repaired=moved)


@maskings.register(
    "block_unrepaired", params=BlockParams, paper="Bao et al. 2021, arXiv:2106.08254"
)
class BlockUnrepaired(Masking):
    """Rectangles only, as in BEiT: the count often falls a few patches short, never over.

    As microsoft/unilm, beit/masking_generator.py.
    """

    count: Count = "per_image"

    def __init__(self, params: BlockParams, grid: Grid) -> None:
        self.blocks = Blocks(params, grid)
        self.num_hidden = self.blocks.hidden.mean

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw rectangles; counts differ between images, so that the plan has no indices."""
        keys = request.keys
        hidden = self.blocks.draw(keys, self.blocks.hidden.at(request))
        return plan_of_hidden(hidden, self.blocks.grid, keys, num_hidden=None)


class Blocks:
    """BEiT's rectangles on one grid, for a batch of keys at once."""

    def __init__(self, params: BlockParams, grid: Grid) -> None:
        self.grid = grid
        self.min_area = params.min_area
        self.hidden = HiddenCount(params.ratio, grid[0] * grid[1], unit="patches")
        self.least = self.hidden.least
        span = math.log(params.aspect)
        levels = [math.exp(span * (1 - (2 * i + 1) / _LEVELS)) for i in range(_LEVELS)]
        self.aspects = torch.tensor(levels, dtype=torch.float64)
        self._check(params)

    def _check(self, params: BlockParams) -> None:
        rows, columns = self.grid
        asked = f"the {self.least} patches that ratio {params.ratio} hides"
        if self.min_area > self.least:
            raise ParamsError(
                "min_area",
                f"min_area {self.min_area} exceeds {asked} on a {rows}×{columns} grid: "
                "lower min_area or raise ratio",
            )
        if not self._reachable(self.min_area):
            largest = max(filter(self._reachable, range(1, self.min_area)), default=0)
            raise ParamsError(
                "min_area",
                f"no rectangle of {self.min_area} patches with an aspect from {params.aspect} to "
                f"its inverse has fewer than {rows} rows and {columns} columns and stays within "
                f"{asked}: "
                + (f"min_area may be at most {largest}" if largest else "take another masking"),
            )

    def _reachable(self, area: int) -> bool:
        """Whether a first rectangle of this area can be accepted; sides only grow with area."""
        height, width = _sides(torch.full_like(self.aspects, area), self.aspects)
        inside = (height < self.grid[0]) & (width < self.grid[1])
        new = height * width
        return bool((inside & (new > 0) & (new <= self.least)).any())

    def draw(
        self,
        keys: Int[Tensor, " batch"],
        num_hidden: int | Real[Tensor, " batch"],
        *,
        max_area: int | None = None,
    ) -> Bool[Tensor, "batch tokens"]:
        """Hide rectangles until the count is reached or ten in a row were refused.

        The count may be each image's own and need not be whole; a rectangle hides at most what is
        missing to it, and at most `max_area`.

        All images try in step, one rectangle an attempt. The numbers of an attempt depend on the
        image's key and the attempt alone, and an image that is done changes no more: its mask does
        not depend on the rest of the batch. An attempt hides a patch or is one of ten, so the loop
        ends.
        """
        hidden = torch.zeros(len(keys), *self.grid, dtype=torch.bool, device=keys.device)
        refused = torch.zeros_like(keys)
        aspects = self.aspects.to(keys.device)
        for attempt in itertools.count():
            missing = num_hidden - hidden.sum((1, 2))
            going = (missing > 0) & (refused < _TRIES)
            if not going.any():
                break
            most = missing if max_area is None else missing.clamp(max=max_area)
            rectangle = self._rectangles(uniform(keys, 4, attempt).double(), most, aspects)
            new = (rectangle & ~hidden).sum((1, 2))
            accepted = going & (new > 0) & (new <= most)
            hidden |= rectangle & accepted[:, None, None]
            refused = torch.where(accepted, 0, refused + 1)
        return hidden.flatten(1)

    def _rectangles(
        self,
        draws: Float[Tensor, "batch 4"],
        missing: Real[Tensor, " batch"],
        aspects: Float[Tensor, " levels"],
    ) -> Bool[Tensor, "batch rows columns"]:
        """One rectangle an image, empty where it would not be smaller than the grid on both sides.

        The area is uniform between min_area and what is missing; when less than min_area is
        missing, the interval runs backwards, as in the official code.
        """
        rows, columns = self.grid
        area = self.min_area + (missing - self.min_area) * draws[:, 0]
        height, width = _sides(area.clamp(min=0), aspects[(draws[:, 1] * _LEVELS).long()])
        fits = (height < rows) & (width < columns)
        top = (draws[:, 2] * (rows - height + 1)).long()
        left = (draws[:, 3] * (columns - width + 1)).long()
        inside = _span(top, height * fits, rows)[:, :, None]
        return inside & _span(left, width, columns)[:, None, :]


def _sides(
    area: Float[Tensor, " n"], aspect: Float[Tensor, " n"]
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """(height, width) in whole patches. sqrt is correctly rounded everywhere, unlike exp."""
    return (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()


def _span(
    start: Int[Tensor, " batch"], length: Int[Tensor, " batch"], size: int
) -> Bool[Tensor, "batch size"]:
    """True from `start` for `length` places of `size`."""
    place = torch.arange(size, device=start.device) - start[:, None]
    return (place >= 0) & (place < length[:, None])
