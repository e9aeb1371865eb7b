"""Blocks in every other image, of a ratio of its own: iBOT's masking."""

from __future__ import annotations

import torch
from pydantic import Field

from mimlab_objectives.keys import fold, key_of, uniform
from mimlab_objectives.masking.plan import Count, Grid, Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.some_images import (
    SomeImagesParams,
    blocks_of,
    image_means,
    mean_hidden,
)

_RATIO = key_of("ratio of an image")
"""Makes keys of their own for ratios: the streams of a key are the attempts of its rectangles."""


class IbotBlockParams(SomeImagesParams):
    min_area: int | None = Field(default=None, ge=1)
    """Smallest area that is drawn for a rectangle; null: (shorter side of the grid // 3)²."""


@maskings.register("ibot_block", params=IbotBlockParams, paper="Zhou et al. 2021, arXiv:2111.07832")
class IbotBlock(Masking):
    """Each image is left whole, or hides rectangles up to a ratio that it draws itself.

    As bytedance/ibot, loader.py, with the README's recipe (`pred_ratio 0 0.3`, `pred_ratio_var 0
    0.2`). Every masked image weighs the same in the loss.
    """

    count: Count = "per_image"

    def __init__(self, params: IbotBlockParams, grid: Grid) -> None:
        self.params = params
        self.blocks = blocks_of(params, grid, params.min_area or max(1, (min(grid) // 3) ** 2))
        self.num_hidden = mean_hidden(params, grid)

    def plan(self, request: MaskRequest) -> MaskPlan:
        """A masked image hides at most ratio · patches, which need not be whole."""
        keys, params, grid = request.keys, self.params, self.blocks.grid
        draws = uniform(fold(keys, _RATIO), 2).double()
        ratio = params.least + (params.most - params.least) * draws[:, 1]
        asked = torch.where(draws[:, 0] < params.share, ratio * grid[0] * grid[1], 0.0)
        return image_means(self.blocks.draw(keys, asked), grid, keys)
