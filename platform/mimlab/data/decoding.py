"""From a cut as it arrives to a batch of pixels, in a pool of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

from mimlab.data.manifest import Split
from mimlab.data.reader import read_rows
from mimlab.data.rendering import (
    PIXELS,
    Canvas,
    Samples,
    ViewSpec,
    canvas_of,
    parts_of,
    place_stored,
    render_samples,
)
from mimlab.data.source import Cut
from mimlab.data.views import UnreadableImage
from mimlab_objectives.keys import key_of, sample_keys

IMAGES_PER_TASK = 16
MAX_REPLACEMENTS = 8
"""Tries for one sample: where this many images in a row cannot be read, the data set is broken."""

Maps = Mapping[str, Shaped[Tensor, "batch ..."]]


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
    unreadable: tuple[UnreadableImage, ...] = ()
    """Samples that could not be read; others stand in their place, under their own ids."""
    maps: Maps | None = None
    """By the sidecar's name, under the view of each image; None where no sidecar is read.

    Of maps float32 (batch, tokens): the mean over each patch, in [0, 1]; NaN where an image has no
    map. Of label maps uint8 (batch, size, size): 255 where a pixel has no class."""
    stored: Shaped[Tensor, "batch ..."] | None = None
    """What a token store holds of each image's view: codes int64 (batch, tokens), or features
    float16 (batch, tokens, width); None where none is read."""

    @property
    def skipped(self) -> int:
        """How many could not be read."""
        return len(self.unreadable)


@dataclass(frozen=True)
class PendingBatch:
    """A batch whose images are being decoded."""

    step: int
    samples: Samples
    images: UInt8[Tensor, "batch size size 3"]
    maps: Maps
    stored: Shaped[Tensor, "batch ..."] | None
    parts: Sequence[Future[list[UnreadableImage]]]

    def result(self) -> LocalBatch:
        """Wait for the images; raises what went wrong with any of them."""
        unreadable = tuple(image for part in self.parts for image in part.result())
        samples = self.samples
        ids, epochs, labels = map(torch.from_numpy, (samples.ids, samples.epochs, samples.labels))
        return LocalBatch(
            self.step,
            ids,
            epochs,
            self.images,
            labels,
            unreadable,
            maps=self.maps or None,
            stored=self.stored,
        )


class Decoder:
    """Renders the views of samples in its own threads, or takes those that tasks have rendered."""

    def __init__(self, split: Split, view: ViewSpec, *, seed: int, threads: int) -> None:
        """`seed` chooses the samples that replace unreadable ones."""
        # The pool uses the cores; OpenCV's own threads would only contend with it.
        cv2.setNumThreads(0)
        self._split, self._view, self._seed = split, view, seed
        self._sources = view.sources(split)
        self._pin = torch.cuda.is_available()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def submit(self, cut: Cut) -> PendingBatch:
        """Start decoding and return at once."""
        samples = Samples.of(cut.columns)
        count, size = len(samples.ids), self._view.size
        images = self._empty((count, size, size, 3), np.uint8)
        maps = {
            maps.name: self._empty((count, *maps.shape(size)), maps.dtype)
            for maps in self._view.maps
        }
        stored = self._empty_stored(count)
        out = Canvas(
            images.numpy(),
            {name: tensor.numpy() for name, tensor in maps.items()},
            None if stored is None else stored.numpy(),
        )
        if PIXELS in cut.columns:
            parts = [self._pool.submit(self._copy, cut, samples, out)]
        else:
            indices = parts_of(count, IMAGES_PER_TASK)
            parts = [self._pool.submit(self._render, samples, out, part) for part in indices]
        return PendingBatch(cut.step, samples, images, maps, stored, parts)

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=self._pin)

    def _empty_stored(self, count: int) -> Tensor | None:
        stored = self._view.stored
        if stored is None:
            return None
        return self._empty((count, *stored.shape), stored.read_as)

    def _render(self, samples: Samples, out: Canvas, indices: range) -> list[UnreadableImage]:
        return self._mend(samples, out, render_samples(samples, indices, self._view, out))

    def _copy(self, cut: Cut, samples: Samples, out: Canvas) -> list[UnreadableImage]:
        # Out of the object store, whose memory is read-only and not pinned.
        rendered, failed = canvas_of(cut.columns, self._view)
        out.copy_from(rendered)
        place_stored(samples, range(len(samples.ids)), self._view, out)
        return self._mend(samples, out, failed)

    def _mend(self, samples: Samples, out: Canvas, failed: dict[int, str]) -> list[UnreadableImage]:
        """Put other samples in the place of unreadable ones; say which these were."""
        found = [UnreadableImage(int(samples.ids[index]), failed[index]) for index in failed]
        for index, reason in failed.items():
            self._replace(samples, index, out.sample(index), reason)
        return found

    def _replace(self, samples: Samples, index: int, out: Canvas, reason: str) -> None:
        """Put another sample into the batch: the same on any number of workers."""
        one = slice(index, index + 1)
        failed = int(samples.ids[index])
        for attempt in range(MAX_REPLACEMENTS):
            key = key_of(self._seed, "replacement", attempt, failed)
            row = sample_keys(key, samples.epochs[one], 0) % self._split.num_rows
            epoch, stored = samples.epochs[one], self._view.stored
            beside = () if stored is None else (stored.source(epoch),)
            table = read_rows(self._split, row, (*self._sources, *beside))
            table = table.append_column("epoch", [epoch])
            if stored is not None:
                table = stored.chosen(table)
            other = Samples.of({name: table[name].chunk(0) for name in table.column_names})
            if render_samples(other, range(1), self._view, out):
                continue
            samples.ids[one], samples.labels[one] = other.ids, other.labels
            return
        raise UnreadableImage(failed, f"{reason}; nor can {MAX_REPLACEMENTS} others in its place")
