"""A curve with fewer points that looks the same: spikes and ends stay."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def kept_points(values: Float[np.ndarray, " points"], most: int) -> Int[np.ndarray, " kept"]:
    """Indices, ascending, of at most `most` points: both ends, and of each equal stretch between
    them its lowest and its highest point.

    What a screen shows of a curve is its vertical extent in each column of pixels, so this is
    lossless where `most` is twice the columns: Jugel et al. (2014), M4, VLDB 7 (10). `most` is at
    least 4; values are finite.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    stretches = (most - 2) // 2
    inner = values[1:-1]
    width = -(-len(inner) // stretches)
    # The last stretches may be short or empty: the last value fills them and adds no extreme.
    padded = np.full(stretches * width, inner[-1])
    padded[: len(inner)] = inner
    table = padded.reshape(stretches, width)
    first = np.arange(stretches) * width
    found = np.concatenate([first + table.argmin(axis=1), first + table.argmax(axis=1)])
    found = np.minimum(found, len(inner) - 1) + 1
    return np.unique(np.concatenate([[0], found, [count - 1]]))
