"""GMML's groups of connected pixels: rectangles of noise, of nothing, or of other content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import fold, uniform
from mimlab_objectives.masking.pixel_corruption import PixelCorruption
from mimlab_objectives.masking.plan import (
    Application,
    Count,
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    Signal,
    maskings,
)
from mimlab_objectives.masking.rectangles import Rectangles
from mimlab_objectives.masking.select import plan_of_hidden
from mimlab_objectives.registry import Params, ParamsError

_RECTANGLES, _NOISE = range(2)  # parts of a key that have many draws each
_BUDGET, _COIN = range(2)  # streams of an image's key
_MOST = 0.95
"""Largest share that rectangles reach soon: corners are drawn evenly, so the image's upper and left
edges are covered rarely."""


class GroupsParams(Params):
    ratio: float = Field(default=0.625, gt=0, lt=1)
    """Fraction of the pixels that is degraded at least, on average."""
    ratio_spread: float = Field(default=0.125, ge=0, lt=0.5)
    """Each image draws its own fraction evenly from `ratio` ± this."""
    max_side: float = Field(default=0.3, gt=0, le=1)
    """Longest side of a rectangle as a fraction of the image's."""
    align: int = Field(default=1, ge=1)
    """Corners and sides are multiples of this many pixels; the patch size gives whole patches."""
    fill: Literal["noise", "zeros", "copy", "replace"] = "noise"
    """Standard normal noise, zeros (the mean colour), another part of the image, or the same place
    of another image: of the other one of its pair in the batch."""
    replace_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that an image has `replace` in place of `fill`."""
    replace_ratio: float = Field(default=0.3, gt=0, lt=_MOST)
    """Fraction of the pixels that is degraded in such an image."""


@dataclass(frozen=True)
class Groups(PixelCorruption):
    """Pixels and what replaces them, worked out beforehand: it may come from other images."""

    pixels: Bool[Tensor, "batch 1 height width"]
    content: Float[Tensor, "batch 3 height width"]

    def changed(self, images: Float[Tensor, "batch 3 height width"]) -> Bool[Tensor, "..."]:  # noqa: ARG002
        """As planned."""
        return self.pixels

    def fill(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "..."]:  # noqa: ARG002
        """As planned."""
        return self.content


@maskings.register("groups", params=GroupsParams, paper="Atito et al. 2022, arXiv:2205.14986")
class GroupMasking(Masking):
    """Degrades random rectangles of pixels until they cover a drawn share of the image.

    As Sara-Ahmed/GMML, datasets/datasets_utils.py and main.py, but reproducible. Images are paired
    in the order of the batch (0 and 1, 2 and 3, …), which is that of the read plan; the last one of
    an odd number copies from itself. A patch is hidden where all its pixels are degraded, and
    predicted, with the share of them as its weight, where some are.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset({"pixels"})
    application: ClassVar[Application] = "pixels"
    count: Count = "per_image"

    def __init__(self, params: GroupsParams, grid: Grid) -> None:
        least, most = params.ratio - params.ratio_spread, params.ratio + params.ratio_spread
        if least <= 0 or most > _MOST:
            raise ParamsError(
                "ratio_spread",
                f"images would be degraded from {least:g} to {most:g} of their pixels: ratio ± "
                f"ratio_spread must stay above 0 and at most {_MOST}",
            )
        self.params, self.grid = params, grid
        chance = params.replace_probability
        self.images_together = 2 if chance or params.fill == "replace" else 1
        mean = (1 - chance) * params.ratio + chance * params.replace_ratio
        self.num_hidden = round(mean * grid[0] * grid[1])

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Draw the rectangles of every image, then what fills them."""
        keys, params, images = request.keys, self.params, request.signals["pixels"]
        height, width = images.shape[2:]
        replaced = uniform(keys, 1, _COIN)[:, 0] < params.replace_probability
        drawn = params.ratio + params.ratio_spread * (2 * uniform(keys, 1, _BUDGET)[:, 0] - 1)
        budget = torch.where(replaced, params.replace_ratio, drawn)
        rectangles = Rectangles(height, width, max_side=params.max_side, align=params.align)
        placed = fold(keys, _RECTANGLES)
        pixels = rectangles.draw(placed, budget)
        # Sources cost more than rectangles: only where they are needed.
        part = slice(0 if params.fill == "copy" else len(keys) // 2 * 2, None)
        source = rectangles.sources(placed[part], budget[part])
        copied = torch.cat([images[: part.start], _gather(images[part], source)])
        content = self._content(images, keys, copied, replaced)
        share = pixels.float().unflatten(2, (self.grid[1], -1)).unflatten(1, (self.grid[0], -1))
        weight = share.mean((2, 4)).flatten(1)
        plan = plan_of_hidden(weight == 1, self.grid, keys, num_hidden=None)
        weight = weight[:, None]
        corruption = Groups(pixels[:, None], content)
        return replace(plan, predicted=weight > 0, weight=weight, corruption=corruption)

    def _content(
        self,
        images: Float[Tensor, "batch 3 height width"],
        keys: Int[Tensor, " batch"],
        copied: Float[Tensor, "batch 3 height width"],
        replaced: Bool[Tensor, " batch"],
    ) -> Float[Tensor, "batch 3 height width"]:
        """`copied` holds what images copy from themselves, of those that do."""
        shape = images.shape
        partner = torch.arange(shape[0], device=images.device) ^ 1
        alone = partner >= shape[0]
        others = torch.where(_each(alone), copied, images[partner.clamp(max=shape[0] - 1)])
        if self.params.fill == "replace":
            return others
        if self.params.fill == "noise":
            own = normal(fold(keys, _NOISE), shape[1:].numel()).view(shape).to(images.dtype)
        else:
            own = copied if self.params.fill == "copy" else torch.zeros_like(images)
        return torch.where(_each(replaced), others, own)


def normal(keys: Int[Tensor, " batch"], count: int) -> Float[Tensor, "batch count"]:
    """Standard normal numbers by their keys (Box and Muller, 1958)."""
    radius = (-2 * (1 - uniform(keys, count, 0)).log()).sqrt()
    return radius * (2 * torch.pi * uniform(keys, count, 1)).cos()


def _gather(
    images: Float[Tensor, "batch 3 height width"], source: Int[Tensor, "batch height width"]
) -> Float[Tensor, "batch 3 height width"]:
    index = source.flatten(1)[:, None].expand(-1, 3, -1)
    return images.flatten(2).gather(2, index).view(images.shape)


def _each(flags: Bool[Tensor, " batch"]) -> Bool[Tensor, "batch 1 1 1"]:
    return flags[:, None, None, None]
