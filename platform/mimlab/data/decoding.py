"""From encoded samples to a batch of pixels, in a pool of threads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from mimlab.data.manifest import Split
from mimlab.data.reader import read_rows
from mimlab.data.source import Cut
from mimlab.data.views import AugmentConfig, UnreadableImage, Views, random_views, render
from mimlab_objectives.keys import key_of, sample_keys

IMAGES_PER_TASK = 16
MAX_REPLACEMENTS = 8
"""Tries for one sample: where this many images in a row cannot be read, the data set is broken."""

NO_LABEL = -1


@dataclass(frozen=True)
class ViewSpec:
    """Which views are made of the samples."""

    size: int
    """Pixels on a side."""
    augment: AugmentConfig
    seed: int


@dataclass(frozen=True)
class LocalBatch:
    """One rank's part of a global batch."""

    step: int
    ids: Int64[Tensor, " batch"]
    epochs: Int64[Tensor, " batch"]
    images: UInt8[Tensor, "batch size size 3"]
    """RGB; pinned where there is a GPU."""
    labels: Int64[Tensor, " batch"]
    """−1 where the sample has none."""
    skipped: int
    """Samples that could not be read; others stand in their place, under their own ids."""


@dataclass(frozen=True)
class Samples:
    """Encoded samples as NumPy columns; `images` are views of Arrow's memory."""

    ids: Int64[np.ndarray, " batch"]
    epochs: Int64[np.ndarray, " batch"]
    labels: Int64[np.ndarray, " batch"]
    widths: Int64[np.ndarray, " batch"]
    heights: Int64[np.ndarray, " batch"]
    images: Sequence[memoryview]

    @classmethod
    def of(cls, columns: dict[str, pa.Array]) -> Samples:
        """From the columns of shards, with `epoch` added."""
        numbers = [columns["id"], columns["epoch"], columns["label"].fill_null(NO_LABEL)]
        numbers += [columns["width"], columns["height"]]
        # Copied: a replaced sample changes its row, and Arrow's memory is read-only.
        arrays = [np.array(column, np.int64) for column in numbers]
        return cls(*arrays, images=_buffers(columns["image"]))


@dataclass(frozen=True)
class PendingBatch:
    """A batch whose images are being decoded."""

    step: int
    samples: Samples
    images: UInt8[Tensor, "batch size size 3"]
    parts: Sequence[Future[int]]

    def result(self) -> LocalBatch:
        """Wait for the images; raises what went wrong with any of them."""
        skipped = sum(part.result() for part in self.parts)
        samples = self.samples
        ids, epochs, labels = map(torch.from_numpy, (samples.ids, samples.epochs, samples.labels))
        return LocalBatch(self.step, ids, epochs, self.images, labels, skipped)


class Decoder:
    """Renders the views of samples in its own threads."""

    def __init__(self, split: Split, view: ViewSpec, *, seed: int, threads: int) -> None:
        """`seed` chooses the samples that replace unreadable ones."""
        # The pool uses the cores; OpenCV's own threads would only contend with it.
        cv2.setNumThreads(0)
        self._split, self._view, self._seed = split, view, seed
        self._pin = torch.cuda.is_available()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def submit(self, cut: Cut) -> PendingBatch:
        """Start decoding and return at once."""
        samples = Samples.of(cut.columns)
        count, size = len(samples.ids), self._view.size
        images = torch.empty((count, size, size, 3), dtype=torch.uint8, pin_memory=self._pin)
        parts = [
            self._pool.submit(self._render, samples, images.numpy(), part) for part in _parts(count)
        ]
        return PendingBatch(cut.step, samples, images, parts)

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _render(
        self, samples: Samples, images: UInt8[np.ndarray, "batch size size 3"], indices: range
    ) -> int:
        """Render samples into their places; returns how many had to be replaced."""
        part = slice(indices.start, indices.stop)
        boxes, flips = self._views(samples, part)
        skipped = 0
        for index, box, flip in zip(indices, boxes, flips.tolist(), strict=True):
            try:
                render(samples.images[index], box, flip=flip, out=images[index])
            except ValueError as error:
                self._replace(samples, index, images[index], str(error))
                skipped += 1
        return skipped

    def _views(self, samples: Samples, part: slice) -> Views:
        return random_views(
            self._view.seed,
            samples.ids[part],
            samples.epochs[part],
            widths=samples.widths[part],
            heights=samples.heights[part],
            augment=self._view.augment,
        )

    def _replace(self, samples: Samples, index: int, out: np.ndarray, reason: str) -> None:
        """Put another sample into the batch: the same on any number of workers."""
        one = slice(index, index + 1)
        failed = int(samples.ids[index])
        for attempt in range(MAX_REPLACEMENTS):
            key = key_of(self._seed, "replacement", attempt, failed)
            row = sample_keys(key, samples.epochs[one], 0) % self._split.num_rows
            table = read_rows(self._split, row).append_column("epoch", [samples.epochs[one]])
            other = Samples.of({name: table[name].chunk(0) for name in table.column_names})
            boxes, flips = self._views(other, slice(None))
            try:
                render(other.images[0], boxes[0], flip=bool(flips[0]), out=out)
            except ValueError:
                continue
            samples.ids[one], samples.labels[one] = other.ids, other.labels
            return
        raise UnreadableImage(failed, f"{reason}; nor can {MAX_REPLACEMENTS} others in its place")


def _parts(count: int) -> list[range]:
    return [range(count)[at : at + IMAGES_PER_TASK] for at in range(0, count, IMAGES_PER_TASK)]


def _buffers(images: pa.Array) -> list[memoryview]:
    """The bytes of each element of a large_binary array, without copies."""
    _, offsets, data = images.buffers()
    bounds = np.frombuffer(offsets, np.int64)[images.offset : images.offset + len(images) + 1]
    # Arrow calls its bytes signed, decoders only take unsigned ones.
    view, bounds = memoryview(data).cast("B"), bounds.tolist()
    return [view[start:stop] for start, stop in itertools.pairwise(bounds)]
