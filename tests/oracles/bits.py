"""Whether two states are the same, bit for bit."""

from __future__ import annotations

import torch


def identical(one: object, other: object) -> bool:
    """Bit for bit, through nested containers."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(identical(a, b) for a, b in pairs)
    return one == other
