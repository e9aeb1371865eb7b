"""Square cells of several patches that are hidden as a whole."""

from __future__ import annotations

import math

from jaxtyping import Bool
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError


class Cells:
    """The cells of `side` × `side` patches that tile a grid, numbered in reading order.

    Raises ParamsError, on the field `cell`, where they do not tile it.
    """

    def __init__(self, side: int, grid: Grid) -> None:
        rows, columns = grid
        if rows % side or columns % side:
            raise ParamsError(
                "cell",
                f"cells of {side}×{side} patches do not tile a {rows}×{columns} grid: "
                f"the cell must divide {math.gcd(rows, columns)}",
            )
        self.side = side
        self.number = (rows // side) * (columns // side)
        self.unit = f"cells of {side}×{side} patches"
        self._columns = columns // side

    def spread(self, cells: Bool[Tensor, "batch cells"]) -> Bool[Tensor, "batch tokens"]:
        """Each cell repeated over its patches."""
        tall = cells.unflatten(1, (-1, self._columns)).repeat_interleave(self.side, 1)
        return tall.repeat_interleave(self.side, 2).flatten(1)
