"""Draws of libraries that know global generators only."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def drawn_from(key: int, device: torch.device | None = None) -> Iterator[None]:
    """Let what is drawn from the generators of Python, NumPy and torch depend on a key alone.

    They are afterwards as they were. torch's are left alone without a `device`, whose own and the
    host's are meant.
    """
    before = random.getstate(), np.random.get_state()
    try:
        random.seed(key % 2**64)
        np.random.seed(key % 2**32)
        if device is None:
            yield
            return
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(key)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
