"""Blocks in half of a batch, with ratios that cover their range evenly: DINOv2's masking."""

from __future__ import annotations

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import bits, fold, key_of, uniform
from mimlab_objectives.masking.plan import Count, Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.some_images import (
    SomeImagesParams,
    blocks_of,
    image_means,
    mean_hidden,
)

_RATIO = key_of("ratio of an image")
"""Makes keys of their own for ratios: the streams of a key are the attempts of its rectangles."""


class Dinov2BlockParams(SomeImagesParams):
    min_area: int = Field(default=4, ge=1)
    """Smallest area that is drawn for a rectangle, in patches."""
    max_share: float = Field(default=0.5, gt=0, le=1)
    """Largest area of a rectangle, as a share of the patches."""


@maskings.register(
    "dinov2_block", params=Dinov2BlockParams, paper="Oquab et al. 2023, arXiv:2304.07193"
)
class Dinov2Block(Masking):
    """A fixed number of a batch's images hide rectangles, their ratios one from each of equal bins.

    As facebookresearch/dinov2, dinov2/data/masking.py and collate.py, with its default
    configuration: what a batch hides in all is nearly constant. Every masked image weighs the same
    in the loss. Which images those are follows from the order of their keys, so that it depends on
    the batch, but not on places in it.
    """

    couples_batch = True
    count: Count = "per_image"

    def __init__(self, params: Dinov2BlockParams, grid: Grid) -> None:
        self.params = params
        self.blocks = blocks_of(params, grid, params.min_area)
        self.max_area = max(params.min_area, int(params.max_share * grid[0] * grid[1]))
        self.num_hidden = mean_hidden(params, grid)

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Rectangles up to each image's own count."""
        keys, grid = request.keys, self.blocks.grid
        hidden = self.blocks.draw(keys, self.asked(keys), max_area=self.max_area)
        return image_means(hidden, grid, keys)

    def asked(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Patches that each image may hide, truncated; 0 in images that are left whole."""
        params, grid = self.params, self.blocks.grid
        num_masked = int(len(keys) * params.share)
        own = fold(keys, _RATIO)
        order = bits(own, 1)[:, 0].argsort(stable=True)
        number = order.argsort(stable=True)  # place of each image in that order
        place = (number + uniform(own, 1, 1)[:, 0].double()) / max(num_masked, 1)
        ratio = params.least + (params.most - params.least) * place
        count = (ratio * (grid[0] * grid[1])).long()
        return torch.where(number < num_masked, count, 0)
