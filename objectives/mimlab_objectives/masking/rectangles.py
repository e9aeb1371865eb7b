"""Random rectangles of pixels that cover a share of an image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimlab_objectives.keys import uniform


class Rectangles:
    """GMML's rectangles (Sara-Ahmed/GMML, datasets/datasets_utils.py) in images of one size.

    Corners are uniform on every `align`-th pixel; sides are uniform between `align` pixels and
    `max_side` of the image, rounded to `align`, and end at the image's edge.
    """

    def __init__(self, height: int, width: int, *, max_side: float, align: int) -> None:
        self.size = (height, width)
        self.align = align
        self.longest = [max(align, int(max_side * length)) for length in self.size]

    def draw(
        self, keys: Int[Tensor, " batch"], budget: Float[Tensor, " batch"]
    ) -> Bool[Tensor, "batch height width"]:
        """Pixels that are covered: at least `budget`, a fraction below 1, of each image's."""
        covered = torch.zeros(len(keys), *self.size, dtype=torch.bool, device=keys.device)
        for rectangle, _ in self._added(keys, budget, covered):
            covered |= rectangle
        return covered

    def sources(
        self, keys: Int[Tensor, " batch"], budget: Float[Tensor, " batch"]
    ) -> Int[Tensor, "batch height width"]:
        """Which pixel of the image each may be copied from, for the rectangles that `draw` gives.

        Each rectangle has a source of its own shape anywhere in the image; a pixel that is not
        covered is its own.
        """
        height, width = self.size
        ids = torch.arange(height * width, device=keys.device).view(height, width)
        source = ids.repeat(len(keys), 1, 1)
        covered = torch.zeros_like(source, dtype=torch.bool)
        for rectangle, shift in self._added(keys, budget, covered):
            covered |= rectangle
            source = torch.where(rectangle, ids + shift[:, None, None], source)
        return source

    def _added(
        self,
        keys: Int[Tensor, " batch"],
        budget: Float[Tensor, " batch"],
        covered: Bool[Tensor, "batch height width"],
    ) -> Iterator[tuple[Bool[Tensor, "batch height width"], Int[Tensor, " batch"]]]:
        """One more rectangle of each image, and how many pixels away its source begins, as long as
        some image is not `covered` enough; all images try in step, as the blocks of BEiT do."""
        height, width = self.size
        for attempt in itertools.count():
            going = covered.sum((1, 2)) < budget * (height * width)
            if not going.any():
                return
            draws = uniform(keys, 6, attempt)
            rows, down = self._span(draws[:, 0::2], 0)
            columns, right = self._span(draws[:, 1::2], 1)
            rows = rows & going[:, None]
            yield rows[:, :, None] & columns[:, None, :], down * width + right

    def _span(
        self, draws: Float[Tensor, "batch 3"], axis: int
    ) -> tuple[Bool[Tensor, "batch length"], Int[Tensor, " batch"]]:
        """(pixels along one axis, how far away the source begins)."""
        length, align, longest = self.size[axis], self.align, self.longest[axis]
        start = (draws[:, 0] * -(-length // align)).long() * align
        asked = align + (draws[:, 1] * (longest - align + 1)).long()
        extent = (asked + align // 2) // align * align
        stop = (start + extent).clamp(max=length)
        shift = (draws[:, 2] * (length - (stop - start) + 1)).long() - start
        place = torch.arange(length, device=draws.device)
        return (place >= start[:, None]) & (place < stop[:, None]), shift
