"""ROPIM's random projections: tokens are averaged in small random groups, with random signs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import fold
from mimlab_objectives.masking.order import shuffled
from mimlab_objectives.masking.plan import (
    Application,
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    maskings,
)
from mimlab_objectives.masking.whole import WholeCorruption, plan_of_corruption
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.pixels import patchify, unpatchify

_SIGNS = -1  # the part of a key that is not a row of buckets
_FAITHFUL = 0.14
"""The official code's scale for buckets of seven (csiro-robotics/ROPIM, main_ropim.py)."""


@dataclass(frozen=True)
class Projection(WholeCorruption):
    """P = scale · S Sᵀ over tokens: S has one ±1 in each row, at the token's bucket."""

    buckets: Int[Tensor, "batch tokens"]
    signs: Float[Tensor, "batch tokens"]
    num_buckets: int
    scale: float

    def apply(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """P x for every channel; float32 in any autocast, since P must stay a projection."""
        with _without_autocast(tokens.device.type):
            sketch = self.sketch()
            return self.scale * (sketch @ (sketch.transpose(1, 2) @ tokens.float()))

    def removed(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """(I − P) x, what `apply` loses."""
        return tokens.float() - self.apply(tokens)

    def picture(
        self, images: Float[Tensor, "batch 3 height width"], patch_size: int
    ) -> Float[Tensor, "batch 3 height width"]:
        """The projection of the patches' pixels: their embedding is linear, so that, but for its
        bias, it is the same to project before it and after it."""
        grid = images.shape[2] // patch_size, images.shape[3] // patch_size
        return unpatchify(self.apply(patchify(images, patch_size)), patch_size, grid)

    def sketch(self) -> Float[Tensor, "batch tokens buckets"]:
        """S, a count sketch."""
        numbers = torch.arange(self.num_buckets, device=self.buckets.device)
        return (self.buckets[..., None] == numbers) * self.signs[..., None]


def _without_autocast(device: str) -> AbstractContextManager[object]:
    """Devices without values, on which shapes are checked, have no autocast."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


class ProjectionParams(Params):
    bucket: int = Field(default=7, ge=2)
    """Tokens that are projected onto one number: 1 ÷ `bucket` of the dimensions is kept. It must
    divide the number of patches."""
    faithful: bool = False
    """Scale by 0.14 as the official code, where 1/7 makes an exact projection; `bucket` 7 only."""


@maskings.register("projection", params=ProjectionParams, paper="Haghighat et al., ICLR 2024")
class RandomProjection(Masking):
    """Projects the tokens of each image onto a random subspace; no patch is hidden.

    As csiro-robotics/ROPIM, data/data_ropim.py: the buckets of consecutive runs of tokens are
    random permutations, so that every bucket gets equally many; half of the signs are negative.
    """

    application: ClassVar[Application] = "projection"

    def __init__(self, params: ProjectionParams, grid: Grid) -> None:
        tokens = grid[0] * grid[1]
        if tokens % params.bucket or params.bucket == tokens:
            legal = [n for n in range(2, tokens) if tokens % n == 0]
            near = sorted(legal, key=lambda n: abs(n - params.bucket))[:3]
            raise ParamsError(
                "bucket",
                f"{tokens} patches do not divide into several buckets of {params.bucket}"
                + (f"; {' or '.join(map(str, sorted(near)))} would" if near else ""),
            )
        if params.faithful and params.bucket != 7:
            raise ParamsError(
                "faithful", f"the official scale 0.14 is for a bucket of 7, not {params.bucket}"
            )
        self.params, self.grid = params, grid
        self.num_buckets = tokens // params.bucket
        self.num_hidden = 0

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Buckets and signs of every token."""
        keys, params = request.keys, self.params
        rows = [shuffled(fold(keys, row), self.num_buckets) for row in range(params.bucket)]
        signs = torch.where(
            shuffled(fold(keys, _SIGNS), self.grid[0] * self.grid[1]) % 2 == 0, 1, -1
        )
        corruption = Projection(
            torch.cat(rows, 1),
            signs.float(),
            self.num_buckets,
            _FAITHFUL if params.faithful else 1 / params.bucket,
        )
        return plan_of_corruption(corruption, self.grid, keys)
