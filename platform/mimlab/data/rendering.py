"""From encoded samples to pixels, wherever that is done: in a worker's threads, in Ray Data tasks.

Encoded or decoded, one rank's part of a global batch travels as one row of lists (`source`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt8

from mimlab.data.views import AugmentConfig, Views, random_views, render

NO_LABEL = -1
CHANNELS = 3


@dataclass(frozen=True)
class ViewSpec:
    """Which views are made of the samples."""

    size: int
    """Pixels on a side."""
    augment: AugmentConfig
    seed: int


@dataclass(frozen=True)
class Samples:
    """Samples as NumPy columns."""

    ids: Int64[np.ndarray, " batch"]
    epochs: Int64[np.ndarray, " batch"]
    labels: Int64[np.ndarray, " batch"]
    widths: Int64[np.ndarray, " batch"]
    heights: Int64[np.ndarray, " batch"]
    images: Sequence[memoryview]
    """Encoded, as views of Arrow's memory; empty where tasks have decoded them."""

    @classmethod
    def of(cls, columns: dict[str, pa.Array]) -> Samples:
        """From the columns of shards, with `epoch` added."""
        numbers = [columns["id"], columns["epoch"], columns["label"].fill_null(NO_LABEL)]
        numbers += [columns["width"], columns["height"]]
        # Copied: a replaced sample changes its row, and Arrow's memory is read-only.
        arrays = [np.array(column, np.int64) for column in numbers]
        return cls(*arrays, images=_buffers(columns["image"]) if "image" in columns else ())

    def views(self, view: ViewSpec, part: slice) -> Views:
        """The geometry of a part of the samples."""
        return random_views(
            view.seed,
            self.ids[part],
            self.epochs[part],
            widths=self.widths[part],
            heights=self.heights[part],
            augment=view.augment,
        )


def render_samples(
    samples: Samples,
    indices: range,
    view: ViewSpec,
    out: UInt8[np.ndarray, "batch size size 3"],
) -> dict[int, str]:
    """Render samples into their places; index → reason of those that cannot be decoded."""
    boxes, flips = samples.views(view, slice(indices.start, indices.stop))
    failed: dict[int, str] = {}
    for index, box, flip in zip(indices, boxes, flips.tolist(), strict=True):
        try:
            render(samples.images[index], box, flip=flip, out=out[index])
        except ValueError as error:
            failed[index] = str(error)
    return failed


def decoded_cut(row: pa.Table, view: ViewSpec) -> pa.Table:
    """A Ray Data task: the same cut with `pixels` and `unreadable` in the place of `image`."""
    # Ray gives a task one core.
    cv2.setNumThreads(0)
    names = [name for name in row.column_names if name not in ("step", "rank")]
    samples = Samples.of({name: row[name].chunk(0).flatten() for name in names})
    count = len(samples.ids)
    pixels = np.zeros((count, view.size, view.size, CHANNELS), np.uint8)
    failed = render_samples(samples, range(count), view, pixels)
    binary = pa.binary(pixels[0].nbytes)
    columns = {
        "pixels": pa.FixedSizeBinaryArray.from_buffers(
            binary, count, [None, pa.py_buffer(pixels.reshape(-1))]
        ),
        "unreadable": pa.array([failed.get(index) for index in range(count)], pa.string()),
    }
    offsets = pa.array([0, count], pa.int64())
    for name, column in columns.items():
        row = row.append_column(name, pa.LargeListArray.from_arrays(offsets, column))
    return row.drop_columns(["image"])


def pixels_of(
    columns: dict[str, pa.Array], size: int
) -> tuple[UInt8[np.ndarray, "batch size size 3"], dict[int, str]]:
    """What `decoded_cut` made, as a view of Arrow's memory; index → reason of the unreadable."""
    column = columns["pixels"]
    data = np.frombuffer(column.buffers()[1], np.uint8)
    rows = data.reshape(-1, size, size, CHANNELS)[column.offset : column.offset + len(column)]
    reasons = enumerate(columns["unreadable"].to_pylist())
    return rows, {index: reason for index, reason in reasons if reason is not None}


def parts_of(count: int, size: int) -> list[range]:
    """The indices in runs of `size`."""
    return [range(count)[at : at + size] for at in range(0, count, size)]


def _buffers(images: pa.Array) -> list[memoryview]:
    """The bytes of each element of a large_binary array, without copies."""
    _, offsets, data = images.buffers()
    bounds = np.frombuffer(offsets, np.int64)[images.offset : images.offset + len(images) + 1]
    # Arrow calls its bytes signed, decoders only take unsigned ones.
    view, bounds = memoryview(data).cast("B"), bounds.tolist()
    return [view[start:stop] for start, stop in itertools.pairwise(bounds)]
