"""Several blocks to predict, one large block to see: I-JEPA's masking."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys, uniform, uniform_numpy
from mimlab_objectives.masking.plan import (
    Count,
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    maskings,
)
from mimlab_objectives.masking.select import highest, plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError

_TRIES = 20
"""Contexts that are drawn before one target block less is kept out of them."""

_TARGETS = 0
_TRUNCATION = 1
_CONTEXTS = 2
"""Streams of an image's key; each attempt at a context has one more."""

_USUAL_BATCH = 64
_STEPS = 16
"""`num_hidden` is the mean of as many batches of this many images."""

Bounds = tuple[float, float]


class MultiBlockParams(Params):
    num_targets: int = Field(default=4, ge=1)
    """Target blocks of an image; they may overlap."""
    target_scale: Bounds = (0.15, 0.2)
    """Least and largest area of a target block, as a share of the patches."""
    target_aspect: Bounds = (0.75, 1.5)
    """Least and largest height ÷ width of a target block."""
    context_scale: Bounds = (0.85, 1.0)
    """Least and largest area of the context block, a square, before targets are taken out."""
    least_kept: int = Field(default=10, ge=0)
    """A context must keep more patches than this, or another one is drawn."""
    faithful: bool = False
    """As the official code does, never use the last row and column, and cut contexts to equal
    counts by leaving out their lowest patches instead of random ones."""

    @model_validator(mode="after")
    def _bounds_hold(self) -> MultiBlockParams:
        limits = {"target_scale": 1, "target_aspect": math.inf, "context_scale": 1}
        for name, limit in limits.items():
            low, high = getattr(self, name)
            if not 0 < low <= high <= limit:
                top = "" if limit == math.inf else f" ≤ {limit}"
                raise ParamsError(name, f"needs 0 < least ≤ largest{top}; found {[low, high]}")
        return self


@dataclass(frozen=True)
class _Size:
    height: int
    width: int


@maskings.register(
    "multi_block", params=MultiBlockParams, paper="Assran et al. 2023, arXiv:2301.08243"
)
class MultiBlock(Masking):
    """Predicts the blocks of `MaskPlan.groups` from what a large block has besides them.

    As facebookresearch/ijepa, src/masks/multiblock.py. A step has one size of target and one of
    context; one number decides both scale and aspect of a size, as in the official code. Contexts
    are cut to the smallest of the whole batch, so that more is hidden in larger batches; the plan
    counts what was cut as moved. Patches may be neither seen nor predicted.
    """

    couples_batch = True
    count: Count = "batch"

    def __init__(self, params: MultiBlockParams, grid: Grid) -> None:
        self.params, self.grid = params, grid
        if min(grid) < 2:
            raise ParamsError(
                "name",
                f"multi_block needs two rows and columns at least, not {grid[0]}×{grid[1]}: "
                "take another masking",
            )
        smallest = self._size(params.context_scale, (1.0, 1.0), 0.0)
        if smallest.height * smallest.width <= params.least_kept:
            raise ParamsError(
                "least_kept",
                f"a context of {smallest.height}×{smallest.width} patches never keeps more than "
                f"least_kept, {params.least_kept}: lower it or raise context_scale",
            )
        self.num_hidden = self._mean_hidden()

    def _mean_hidden(self) -> int:
        """Over some steps: the larger a batch, the more is hidden, by no formula."""
        images = np.arange(_USUAL_BATCH)
        keys = [sample_keys(key_of("usual batch"), images, epoch) for epoch in range(_STEPS)]
        requests = [
            MaskRequest(torch.from_numpy(k), step_key=key_of(i)) for i, k in enumerate(keys)
        ]
        hidden = [self.plan(request).hidden for request in requests]
        return round(float(torch.cat(hidden).sum()) / (_STEPS * _USUAL_BATCH))

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw the sizes of the step, then each image's targets and context."""
        keys, params, (rows, columns) = request.keys, self.params, self.grid
        draws = uniform_numpy(np.array([request.step_key]), 2)[0]
        size = self._size(params.target_scale, params.target_aspect, draws[0])
        count = params.num_targets
        places = uniform(keys, 2 * count, _TARGETS).unflatten(1, (count, 2))
        targets = self._blocks(size, places)
        context = self._contexts(
            keys, self._size(params.context_scale, (1.0, 1.0), draws[1]), targets
        )
        num_kept = min(context.sum(1).tolist(), default=rows * columns - 1)
        kept = self._cut(context, num_kept, keys)
        num_hidden = rows * columns - num_kept
        plan = plan_of_hidden(
            ~kept, self.grid, keys, num_hidden=num_hidden, repaired=(context ^ kept).sum(1)
        )
        predicted = targets.any(1)[:, None]
        groups = targets.nonzero()[:, 2].view(len(keys), count, size.height * size.width)
        return replace(plan, predicted=predicted, weight=predicted.float(), groups=groups)

    def _size(self, scale: Bounds, aspect: Bounds, draw: float) -> _Size:
        """Sides in patches, each below that of the grid."""
        area = int(self.grid[0] * self.grid[1] * (scale[0] + draw * (scale[1] - scale[0])))
        ratio = aspect[0] + draw * (aspect[1] - aspect[0])
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        rows, columns = self.grid
        return _Size(max(1, min(height, rows - 1)), max(1, min(width, columns - 1)))

    def _blocks(self, size: _Size, draws: Tensor) -> Bool[Tensor, "batch blocks tokens"]:
        """Blocks at the places that pairs of uniform numbers stand for: (batch, blocks, 2)."""
        last = 0 if self.params.faithful else 1  # whether the last place is used, too
        rows, columns = self.grid
        top = (draws[..., 0] * (rows - size.height + last)).long()[..., None]
        left = (draws[..., 1] * (columns - size.width + last)).long()[..., None]
        down = torch.arange(rows, device=draws.device) - top
        right = torch.arange(columns, device=draws.device) - left
        inside = ((down >= 0) & (down < size.height))[..., :, None]
        return (inside & ((right >= 0) & (right < size.width))[..., None, :]).flatten(2)

    def _contexts(
        self,
        keys: Int[Tensor, " batch"],
        size: _Size,
        targets: Bool[Tensor, "batch blocks tokens"],
    ) -> Bool[Tensor, "batch tokens"]:
        """Blocks without targets; where too little remains again and again, with some of them.

        The last attempts take out no target, and what they keep was checked beforehand.
        """
        kept = torch.zeros_like(targets[:, 0])
        left = torch.arange(len(keys), device=keys.device)  # few after the first attempt
        for attempt in range(_TRIES * self.params.num_targets + 1):
            block = self._blocks(size, uniform(keys[left], 2, _CONTEXTS + attempt)[:, None])[:, 0]
            out = targets[left, : self.params.num_targets - attempt // _TRIES].any(1)
            kept[left] = block & ~out
            left = left[kept[left].sum(1) <= self.params.least_kept]
            if not len(left):
                break
        return kept

    def _cut(
        self, context: Bool[Tensor, "batch tokens"], count: int, keys: Int[Tensor, " batch"]
    ) -> Bool[Tensor, "batch tokens"]:
        """`count` patches of each context: the first ones, or random ones."""
        if self.params.faithful:
            return context & (context.cumsum(1) <= count)
        return highest(context.float(), count, keys, stream=_TRUNCATION)
