"""Centre views of images, decoded ahead of what looks at them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt8

from mimlab.data.rendering import CHANNELS, Samples, parts_of
from mimlab.data.views import Views, center_views, render

IMAGES_PER_TASK = 8
AHEAD = 2
"""Batches that are decoded while one is looked at."""


class Centred(NamedTuple):
    """Images that could be read."""

    indices: Int64[np.ndarray, " batch"]
    """Of the rows of the table."""
    pixels: UInt8[np.ndarray, "batch size size 3"]


def centred(table: pa.Table, size: int, *, batch: int, threads: int) -> Iterator[Centred]:
    """Centre views of a table's images in `size` pixels, `batch` at a time, without those that
    cannot be decoded. The columns of the table are those of shards, each in one piece."""
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    samples = Samples.of({**columns, "epoch": columns["id"]})
    geometry = center_views(widths=samples.widths, heights=samples.heights)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting: deque[_Pending] = deque()
        for rows in parts_of(table.num_rows, batch):
            out = np.zeros((len(rows), size, size, CHANNELS), np.uint8)
            one = partial(_render, samples, geometry, rows.start, out)
            parts = [pool.submit(one, part) for part in parts_of(len(rows), IMAGES_PER_TASK)]
            waiting.append(_Pending(rows.start, out, parts))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Pending(NamedTuple):
    first: int
    pixels: UInt8[np.ndarray, "batch size size 3"]
    parts: list[Future[list[bool]]]

    def result(self) -> Centred:
        good = np.array([ok for part in self.parts for ok in part.result()], np.bool_)
        return Centred(good.nonzero()[0] + self.first, self.pixels[good])


def _render(
    samples: Samples, geometry: Views, first: int, out: np.ndarray, part: range
) -> list[bool]:
    """Whether each image of a part of the batch could be rendered into its place."""
    readable = []
    for index in part:
        row = first + index
        try:
            render(samples.images[row], geometry.boxes[row], flip=False, out=out[index])
        except ValueError:
            readable.append(False)
        else:
            readable.append(True)
    return readable
