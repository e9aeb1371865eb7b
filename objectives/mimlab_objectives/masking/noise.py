"""Banks of coloured noise: white noise, filtered once in the Fourier domain.

Frequencies are in cycles per patch, and E(s) = exp(−2π²s²f²) is the transfer function of a Gaussian
blur of s patches. Red, blue, green and purple are low-, high-, band-pass and band-stop noise, as in
the paper (arXiv:2407.13036), which gives no deviations: those here, and the powers, reproduce the
number of visible components and of adjacent visible pairs in its published masks. A blur is not
sampled in space, where one below a patch would have another response.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int16
from torch import Tensor

from mimlab_objectives.keys import key_of

Colour = Literal["white", "red", "blue", "green", "purple"]

SLICES = 3072
"""Images of a bank, as in carlosh93/ColorMAE's files."""
SIDE = 64
"""Their side in patches; noise is periodic, so that a window may lie anywhere."""

_CHUNK = 256
"""Images that are filtered at once."""
_STEPS = 4096
"""Steps of one standard deviation. Whole numbers hide the last bits of a Fourier transform."""

Frequencies = Float[np.ndarray, "side half"]


def _blur(deviation: float, frequency: Frequencies) -> Frequencies:
    return np.exp(-2 * (np.pi * deviation * frequency) ** 2)


_FILTERS: Mapping[Colour, Callable[[Frequencies], Frequencies]] = {
    "white": np.ones_like,
    "red": lambda f: _blur(4.5, f),
    "blue": lambda f: 1 - _blur(0.7, f),
    "green": lambda f: (_blur(0.8, f) - _blur(1.6, f)) ** 3,
    "purple": lambda f: (1 - (_blur(0.5, f) - _blur(3.0, f))) ** 2,
}


@functools.lru_cache(maxsize=len(_FILTERS))
def bank_of(colour: Colour) -> Int16[Tensor, "slices side side"]:
    """Noise of one colour, on the CPU, made once in a process: 25 MB, in 1/4096 of a deviation."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    transfer = _FILTERS[colour](frequency)
    transfer[0, 0] = 0.0  # no image has a mean
    draws = np.random.Generator(np.random.Philox(key_of("noise", colour) & (2**63 - 1)))
    bank = np.empty((SLICES, SIDE, SIDE), np.int16)
    for start in range(0, SLICES, _CHUNK):
        white = draws.standard_normal((_CHUNK, SIDE, SIDE))
        noise = np.fft.irfft2(np.fft.rfft2(white) * transfer, s=(SIDE, SIDE))
        noise /= noise.std((1, 2), keepdims=True)
        bank[start : start + _CHUNK] = np.rint(noise * _STEPS)
    return torch.from_numpy(bank)


def bank_hash(colour: Colour) -> str:
    """SHA-256 of a bank's bytes: what a mask depends on besides its key."""
    return hashlib.sha256(bank_of(colour).numpy().astype("<i2").tobytes()).hexdigest()
