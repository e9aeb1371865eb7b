"""Counter-based randomness: a hash of integers instead of a generator with state.

A draw is a pure function of its key, so it is the same on any number of workers, on CPU and GPU,
and after a resume. The hash is SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014; the
constants of David Stafford's variant 13, as in java.util.SplittableRandom), chained over the parts
of a key.
The same lines run on NumPy arrays and on torch tensors: both wrap int64 products modulo 2⁶⁴.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def _shift(x: ArrayT, count: int) -> ArrayT:
    """Logical right shift of int64: an arithmetic shift without the copies of the sign."""
    return (x >> count) & ((1 << (64 - count)) - 1)


def mix(x: ArrayT) -> ArrayT:
    """SplitMix64's finaliser, elementwise on int64."""
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def fold(key: ArrayT, part: ArrayT | int) -> ArrayT:
    """The key of (key, part). Order matters; either may be an int64 array of the same shape."""
    return mix((mix(key) + _GOLDEN) ^ part)


def key_of(*parts: int | str) -> int:
    """One int64 key of whole numbers and names, e.g. `key_of(seed, "view")`."""
    key = np.zeros(1, np.int64)
    for part in parts:
        number = _number(part) if isinstance(part, str) else part
        key = fold(key, np.array([number], np.int64))
    return int(key[0])


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)


def sample_keys(key: int, ids: Int64[np.ndarray, " n"], epochs: Int64[np.ndarray, " n"] | int):
    """int64 keys of (key, sample id, epoch), one for each sample."""
    return fold(fold(np.full(len(ids), key, np.int64), ids), epochs)


def uniform_numpy(keys: Int64[np.ndarray, " n"], count: int) -> Float[np.ndarray, "n count"]:
    """float64 in [0, 1) with 53 random bits: `count` draws for each key."""
    return _shift(_counters(keys, np.arange(count)), 11) * 2.0**-53


def bits(keys: Int[Tensor, " batch"], count: int, stream: int = 0) -> Int[Tensor, "batch count"]:
    """int64 ≥ 0 with 63 random bits; `stream` separates several uses of one key."""
    positions = torch.arange(count, device=keys.device) + (stream << 32)
    return _shift(_counters(keys, positions), 1)


def uniform(
    keys: Int[Tensor, " batch"], count: int, stream: int = 0
) -> Float[Tensor, "batch count"]:
    """float32 in [0, 1) with 24 random bits: `count` draws for each key."""
    return (bits(keys, count, stream) >> 39).float() * 2.0**-24


def _counters(keys: ArrayT, positions: ArrayT) -> ArrayT:
    return fold(keys[:, None], positions[None, :])
