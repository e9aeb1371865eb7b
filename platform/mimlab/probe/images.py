"""Labelled images of a split, batch by batch on the device, in bounded memory.

Images without a label, and those that cannot be decoded, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.data.reader import ColumnSource, images_of, iter_rows, read_rows
from mimlab.data.subset import SubsetSplit
from mimlab.data.views import Views, center_views, random_views, render
from mimlab.train.pixels import normalise
from mimlab_objectives.keys import key_of, sample_keys

CHUNK = 256
"""Images decoded at once where the order is that of the split."""
UNLABELLED = -1

ImageBatch = tuple[Float[Tensor, "_ 3 height width"], Int[Tensor, " _"]]

Change = Callable[[UInt8[np.ndarray, "size size 3"]], UInt8[np.ndarray, "size size 3"]]
"""What is done to the pixels of a view; called in the threads that decode."""

ChangesOf = Callable[[Int[np.ndarray, " batch"]], Sequence[Change]]
"""A change for each key; called in the reader's own thread."""

NumberedBatch = tuple[Int[Tensor, " _"], Float[Tensor, "_ 3 height width"], Int[Tensor, " _"]]


class Chunk(NamedTuple):
    """Images that could be read, with their labels and their rows in the split."""

    pixels: UInt8[np.ndarray, "batch size size 3"]
    labels: Int[np.ndarray, " batch"]
    rows: Int[np.ndarray, " batch"]


@dataclass(frozen=True)
class LabelledImages:
    """What a probe reads of one split, as often as it likes."""

    split: Split
    image_size: int
    device: torch.device
    threads: int

    def count(self) -> int:
        """Images that have a label."""
        labels = ColumnSource(images_of(self.split).root, ("label",))
        table = read_rows(self.split, np.arange(self.split.num_rows), [labels])
        return table.num_rows - table["label"].null_count

    def in_order(self) -> Iterator[ImageBatch]:
        """Centre views, in the order of the split."""
        for _, images, labels in self.numbered():
            yield images, labels

    def numbered(self) -> Iterator[NumberedBatch]:
        """The same with the row of each image in the split."""
        every = np.arange(self.split.num_rows)
        with ThreadPoolExecutor(self.threads) as decoders:
            for chunk in centred(self.split, every, self.image_size, decoders):
                if len(chunk.labels):
                    yield torch.from_numpy(chunk.rows), *self._on_device(chunk)

    def planned(
        self,
        *,
        seed: int,
        batch_size: int,
        steps: int,
        augment: AugmentConfig | None,
        changes: ChangesOf | None = None,
    ) -> Iterator[ImageBatch]:
        """The first `steps` batches of the split's read plan, without what is left out.

        In views that are random by (seed, sample id, epoch), as training has them, or centred
        where `augment` is None; then changed, by keys of the same. One window of encoded images is
        held at a time.
        """
        plan = ReadPlan(self.split.rows_per_group, seed, batch_size)
        with ThreadPoolExecutor(self.threads) as decoders:
            for task in plan.tasks(0, steps):
                rows, epochs = plan.rows(task.start_step * batch_size, task.stop_step * batch_size)
                window = read_rows(self.split, rows)
                for first in range(0, len(rows), batch_size):
                    cut = slice(first, first + batch_size)
                    table = window.slice(first, batch_size)
                    views = _views(table, seed, epochs[cut], augment)
                    change = None
                    if changes is not None:
                        ids = _column(table, "id")
                        change = changes(sample_keys(key_of(seed, "change"), ids, epochs[cut]))
                    chunk = _rendered(table, rows[cut], views, self.image_size, decoders, change)
                    if len(chunk.labels):
                        yield self._on_device(chunk)

    def _on_device(self, chunk: Chunk) -> ImageBatch:
        pixels = torch.from_numpy(chunk.pixels).to(self.device)
        return normalise(pixels), torch.from_numpy(chunk.labels).to(self.device)


def chosen_rows(split: Split, max_rows: int | None) -> Int[np.ndarray, " rows"]:
    """All rows of a split, or `max_rows` of them, the same ones for every trial."""
    rows = np.arange(split.num_rows)
    if max_rows is None or max_rows >= split.num_rows:
        return rows
    order = np.argsort(sample_keys(key_of("probe rows"), rows, 0), kind="stable")
    return np.sort(order[:max_rows])


def part_of(split: Split, rows: Int[np.ndarray, " rows"]) -> Split:
    """Some rows of a whole split, ascending, seen as a split."""
    return SubsetSplit(split.root, split.entry, split.first_id, rows)


def centred(
    split: Split, rows: Int[np.ndarray, " rows"], image_size: int, decoders: ThreadPoolExecutor
) -> Iterator[Chunk]:
    """Centre views of the given rows, in their order."""
    done = 0
    for table in iter_rows(split, rows, CHUNK):
        own = rows[done : done + table.num_rows]
        done += table.num_rows
        views = center_views(widths=_column(table, "width"), heights=_column(table, "height"))
        yield _rendered(table, own, views, image_size, decoders)


def _views(
    table: pa.Table, seed: int, epochs: Int[np.ndarray, " batch"], augment: AugmentConfig | None
) -> Views:
    widths, heights = _column(table, "width"), _column(table, "height")
    if augment is None:
        return center_views(widths=widths, heights=heights)
    ids = _column(table, "id")
    return random_views(seed, ids, epochs, widths=widths, heights=heights, augment=augment)


def _rendered(
    table: pa.Table,
    rows: Int[np.ndarray, " batch"],
    views: Views,
    image_size: int,
    decoders: ThreadPoolExecutor,
    changes: Sequence[Change] | None = None,
) -> Chunk:
    images = [image.as_buffer() for image in table["image"]]
    labels = table["label"].fill_null(UNLABELLED).to_numpy().astype(np.int64)
    pixels = np.zeros((len(labels), image_size, image_size, 3), np.uint8)
    render_one = partial(_render, images, views, changes, pixels)
    readable: Bool[np.ndarray, " batch"] = np.array(
        list(decoders.map(render_one, range(len(labels)))), bool
    )
    good = readable & (labels != UNLABELLED)
    return Chunk(pixels[good], labels[good], rows[good])


def _render(
    images: list, views: Views, changes: Sequence[Change] | None, pixels: np.ndarray, i: int
) -> bool:
    """Whether image i could be rendered into its place."""
    try:
        flip = bool(views.flips[i])
        render(memoryview(images[i]), views.boxes[i], flip=flip, out=pixels[i])
    except ValueError:
        return False
    if changes is not None:
        pixels[i] = changes[i](pixels[i])
    return True


def _column(table: pa.Table, name: str) -> Int[np.ndarray, " batch"]:
    return table[name].to_numpy().astype(np.int64)
