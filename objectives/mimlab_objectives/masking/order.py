"""Random orders by key."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from mimlab_objectives.keys import bits


def shuffled(keys: Int[Tensor, " batch"], count: int) -> Int[Tensor, "batch count"]:
    """A uniform random permutation of 0 to count − 1 for each key."""
    return bits(keys, count).argsort(dim=1, stable=True)
