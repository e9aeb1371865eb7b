"""A random part of a store, beside the pixels that it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from mimlab.data.manifest import DataSet
from mimlab.data.reader import images_of, read_rows
from mimlab.data.rendering import CHANNELS
from mimlab.data.sidecar import VIEW_COLUMN
from mimlab.data.views import render
from mimlab.tokens.packing import unpacked
from mimlab.tokens.pixels import recorded_views, samples_of
from mimlab.tokens.store import TokenStore
from mimlab_objectives.keys import key_of, sample_keys

ROWS_AT_ONCE = 8
"""Each may lie in a row group of its own, which is read for it."""


class Sample(NamedTuple):
    """A few images under one view."""

    ids: Int64[np.ndarray, " rows"]
    pixels: UInt8[np.ndarray, "rows size size 3"]
    """As the encoder reads them."""
    stored: Shaped[np.ndarray, "rows tokens *width"]


def samples(store: TokenStore, data: DataSet, *, count: int, seed: int) -> Iterator[Sample]:
    """`count` random images of the store, each under a random one of its views.

    Images that cannot be read are left out.
    """
    for split, view, rows in _drawn(store, count, seed):
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield _read(store, data, split, view, rows[start : start + ROWS_AT_ONCE])


def _drawn(
    store: TokenStore, count: int, seed: int
) -> Iterator[tuple[str, int, Int64[np.ndarray, " rows"]]]:
    """Split, view, and rows of that split in ascending order."""
    names = list(store.splits)
    ends = np.cumsum([store.splits[name].rows for name in names])
    keys = sample_keys(key_of(seed, "tokens sample"), np.arange(ends[-1]), 0)
    chosen = np.sort(np.argsort(keys, kind="stable")[:count])
    views = sample_keys(key_of(seed, "tokens view"), chosen, 0) % store.views.count
    splits = np.searchsorted(ends, chosen, "right")
    for number, name in enumerate(names):
        for view in range(store.views.count):
            rows = chosen[(splits == number) & (views == view)]
            yield name, view, rows - (ends[number] - store.splits[name].rows)


def _read(
    store: TokenStore, data: DataSet, split: str, view: int, rows: Int64[np.ndarray, " rows"]
) -> Sample:
    source = store.source("tokens", view)
    table = read_rows(data.split(split), rows, [images_of(data.split(split)), source])
    column = source.named(VIEW_COLUMN.format(view))
    stored = unpacked(table[column], store.dtype, store.shape)
    images = samples_of(table.drop_columns([column]).combine_chunks())
    [(boxes, flips)] = recorded_views(images, store.views, [view])
    side = store.encoder.size
    pixels = np.zeros((len(rows), side, side, CHANNELS), np.uint8)
    readable = np.ones(len(rows), np.bool_)
    for row, (box, flip) in enumerate(zip(boxes, flips.tolist(), strict=True)):
        try:
            render(images.images[row], box, flip=flip, out=pixels[row])
        except ValueError:
            readable[row] = False
    return Sample(images.ids[readable], pixels[readable], stored[readable])
