"""From encoded samples to pixels, wherever that is done: in a worker's threads, in Ray Data tasks.

Encoded or decoded, one rank's part of a global batch travels as one row of lists (`source`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Int64, Shaped, UInt8

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import Split
from mimlab.data.map_views import MapView
from mimlab.data.reader import ColumnSource, images_of
from mimlab.data.stored_views import STORED, StoredView
from mimlab.data.views import Views, random_views, render

NO_LABEL = -1
CHANNELS = 3

PIXELS = "pixels"
"""Column of images that tasks have rendered."""
MAP, VIEW = ".map", ".view"
"""Ends of the names of a sidecar's columns, before and after rendering."""


@dataclass(frozen=True)
class ViewSpec:
    """Which views are made of the samples."""

    size: int
    """Pixels on a side."""
    augment: AugmentConfig
    seed: int
    """Of crops and flips; where a token store is read, the store's."""
    maps: tuple[MapView, ...] = ()
    """What is read besides the images."""
    stored: StoredView | None = None
    """The token store that is read besides; the views are then those that it was made of."""

    def sources(self, split: Split) -> tuple[ColumnSource, ...]:
        """The shards, and the sidecars of maps that are read with them."""
        return (images_of(split), *(maps.source for maps in self.maps))

    def numbers(self, epochs: Int64[np.ndarray, " batch"]) -> Int64[np.ndarray, " batch"]:
        """What tells a sample's views apart: the epoch, or the number of a recorded view."""
        return epochs if self.stored is None else self.stored.numbers(epochs)


@dataclass(frozen=True)
class Canvas:
    """Where the views of samples are written."""

    images: UInt8[np.ndarray, "batch size size 3"]
    maps: Mapping[str, Shaped[np.ndarray, "batch ..."]]
    """By the sidecar's name; `MapView.shape` and `dtype` of each sample."""
    stored: Shaped[np.ndarray, "batch ..."] | None = None
    """What a token store holds of them: codes int64, features as they are stored."""

    @classmethod
    def blank(cls, count: int, view: ViewSpec) -> Canvas:
        """Black images, and maps of zeros."""
        images = np.zeros((count, view.size, view.size, CHANNELS), np.uint8)
        shapes = {maps.name: ((count, *maps.shape(view.size)), maps.dtype) for maps in view.maps}
        return cls(images, {name: np.zeros(*shape) for name, shape in shapes.items()})

    def sample(self, index: int) -> Canvas:
        """The place of one sample."""
        one = slice(index, index + 1)
        maps = {name: maps[one] for name, maps in self.maps.items()}
        return Canvas(self.images[one], maps, None if self.stored is None else self.stored[one])

    def copy_from(self, other: Canvas) -> None:
        """Write what another one holds."""
        np.copyto(self.images, other.images)
        for name, maps in self.maps.items():
            np.copyto(maps, other.maps[name])


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
    maps: Mapping[str, Sequence[memoryview]]
    """The same of sidecars, by their names; no bytes where an image has no map."""
    stored: pa.Array | None = None
    """What a token store holds of each sample's view, as bytes."""

    @classmethod
    def of(cls, columns: dict[str, pa.Array]) -> Samples:
        """From the columns of shards, with `epoch` added."""
        numbers = [columns["id"], columns["epoch"], columns["label"].fill_null(NO_LABEL)]
        numbers += [columns["width"], columns["height"]]
        # Copied: a replaced sample changes its row, and Arrow's memory is read-only.
        arrays = [np.array(column, np.int64) for column in numbers]
        maps = {
            name.removesuffix(MAP): _buffers(column)
            for name, column in columns.items()
            if name.endswith(MAP)
        }
        images = _buffers(columns["image"]) if "image" in columns else ()
        return cls(*arrays, images=images, maps=maps, stored=columns.get(STORED))

    def views(self, view: ViewSpec, part: slice) -> Views:
        """The geometry of a part of the samples."""
        return random_views(
            view.seed,
            self.ids[part],
            view.numbers(self.epochs[part]),
            widths=self.widths[part],
            heights=self.heights[part],
            augment=view.augment,
        )


def render_samples(
    samples: Samples,
    indices: range,
    view: ViewSpec,
    out: Canvas,
) -> dict[int, str]:
    """Render samples into their places; index → reason of those that cannot be decoded."""
    place_stored(samples, indices, view, out)
    geometry = samples.views(view, slice(indices.start, indices.stop))
    return render_views(samples, indices, geometry, view, out)


def place_stored(samples: Samples, indices: range, view: ViewSpec, out: Canvas) -> None:
    """Copy what a token store holds of samples into their places, if there are any."""
    if out.stored is None:
        return
    assert view.stored is not None and samples.stored is not None
    part = slice(indices.start, indices.stop)
    np.copyto(out.stored[part], view.stored.values(samples.stored)[part])


def render_views(
    samples: Samples, indices: range, geometry: Views, view: ViewSpec, out: Canvas
) -> dict[int, str]:
    """The same under any geometry: that of `indices`."""
    boxes, flips = geometry
    failed: dict[int, str] = {}
    for index, box, flip in zip(indices, boxes, flips.tolist(), strict=True):
        full = int(samples.widths[index]), int(samples.heights[index])
        try:
            render(samples.images[index], box, flip=flip, out=out.images[index])
            for maps in view.maps:
                encoded = samples.maps[maps.name][index]
                out.maps[maps.name][index] = maps.render(
                    encoded, box, full=full, flip=flip, size=view.size
                )
        except ValueError as error:
            failed[index] = str(error)
    return failed


def decoded_cut(row: pa.Table, view: ViewSpec) -> pa.Table:
    """A Ray Data task: the same cut with `pixels` and `unreadable` in the place of `image`.

    `<sidecar>.view` takes the place of `<sidecar>.map`.
    """
    # Ray gives a task one core.
    cv2.setNumThreads(0)
    names = [name for name in row.column_names if name not in ("step", "rank")]
    samples = Samples.of({name: row[name].chunk(0).flatten() for name in names})
    count = len(samples.ids)
    out = Canvas.blank(count, view)
    failed = render_samples(samples, range(count), view, out)
    columns = {
        PIXELS: _binary(out.images),
        **{f"{name}{VIEW}": _binary(maps) for name, maps in out.maps.items()},
        "unreadable": pa.array([failed.get(index) for index in range(count)], pa.string()),
    }
    offsets = pa.array([0, count], pa.int64())
    for name, column in columns.items():
        row = row.append_column(name, pa.LargeListArray.from_arrays(offsets, column))
    return row.drop_columns(["image", *(f"{maps.name}{MAP}" for maps in view.maps)])


def canvas_of(columns: dict[str, pa.Array], view: ViewSpec) -> tuple[Canvas, dict[int, str]]:
    """What `decoded_cut` made, as views of Arrow's memory; index → reason of the unreadable."""
    images = _unpacked(columns[PIXELS], (view.size, view.size, CHANNELS), np.uint8)
    rendered = {
        maps.name: _unpacked(columns[f"{maps.name}{VIEW}"], maps.shape(view.size), maps.dtype)
        for maps in view.maps
    }
    reasons = enumerate(columns["unreadable"].to_pylist())
    return Canvas(images, rendered), {i: reason for i, reason in reasons if reason is not None}


def _binary(rows: np.ndarray) -> pa.Array:
    """The bytes of each row, without a copy."""
    buffers = [None, pa.py_buffer(rows.reshape(-1))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows[0].nbytes), len(rows), buffers)


def _unpacked(
    column: pa.Array, shape: tuple[int, ...], dtype: type[np.generic]
) -> Shaped[np.ndarray, "batch ..."]:
    """The rows that `_binary` made."""
    data = np.frombuffer(column.buffers()[1], dtype).reshape(-1, *shape)
    return data[column.offset : column.offset + len(column)]


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
