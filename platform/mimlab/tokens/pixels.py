"""The pixels that an encoder reads: views of images, decoded ahead of it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt8

from mimlab.data.rendering import CHANNELS, Samples, parts_of
from mimlab.data.sidecar import StoredViews
from mimlab.data.views import Views, random_views, render_each

IMAGES_PER_TASK = 8
AHEAD = 3
"""Chunks that are decoded while one is encoded."""


Geometry = Callable[[Samples], list[Views]]
"""Where images are seen: for each view, its crops and flips of all samples."""


class Pixels(NamedTuple):
    """All views of some images."""

    ids: Int64[np.ndarray, " images"]
    views: UInt8[np.ndarray, "images views size size 3"]
    unreadable: list[int]
    """Indices of those that could not be decoded; black."""


def recorded_views(samples: Samples, views: StoredViews, numbers: Iterable[int]) -> list[Views]:
    """The geometry of the views with these numbers, each of all samples."""
    return [
        random_views(
            views.seed,
            samples.ids,
            np.full_like(samples.ids, number),
            widths=samples.widths,
            heights=samples.heights,
            augment=views.augment,
        )
        for number in numbers
    ]


def recorded(views: StoredViews) -> Geometry:
    """Every recorded view."""
    return lambda samples: recorded_views(samples, views, range(views.count))


def rendered(
    tables: Iterable[pa.Table], geometry: Geometry, size: int, *, chunk: int, threads: int
) -> Iterator[Pixels]:
    """All views of the images of tables, at most `chunk` images at once, in `size` pixels.

    A table has the columns of shards, each in one piece; no chunk has images of two.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[Pixels, list[Future[list[int]]]]] = deque()
        for table, rows in _chunks(tables, chunk):
            waiting.append(_begin(table.slice(rows.start, len(rows)), geometry, size, pool))
            if len(waiting) > AHEAD:
                yield _finish(*waiting.popleft())
        while waiting:
            yield _finish(*waiting.popleft())


def _chunks(tables: Iterable[pa.Table], chunk: int) -> Iterator[tuple[pa.Table, range]]:
    return itertools.chain.from_iterable(
        ((table, rows) for rows in parts_of(table.num_rows, chunk)) for table in tables
    )


def samples_of(table: pa.Table) -> Samples:
    """The rows of shards, in one piece each column."""
    columns = {name: table[name].chunk(0) for name in table.column_names}
    return Samples.of({**columns, "epoch": columns["id"]})


def _begin(
    table: pa.Table, geometry: Geometry, size: int, pool: ThreadPoolExecutor
) -> tuple[Pixels, list[Future[list[int]]]]:
    samples = samples_of(table)
    views = geometry(samples)
    boxes = np.stack([view.boxes for view in views], 1)
    flips = np.stack([view.flips for view in views], 1)
    out = np.zeros((len(samples.ids), len(views), size, size, CHANNELS), np.uint8)

    def render(rows: range) -> list[int]:
        failed = []
        for row in rows:
            try:
                render_each(samples.images[row], Views(boxes[row], flips[row]), out[row])
            except ValueError:
                out[row] = 0
                failed.append(row)
        return failed

    parts = [pool.submit(render, rows) for rows in parts_of(len(out), IMAGES_PER_TASK)]
    return Pixels(samples.ids, out, []), parts


def _finish(pixels: Pixels, parts: list[Future[list[int]]]) -> Pixels:
    for part in parts:
        pixels.unreadable.extend(part.result())
    return pixels
