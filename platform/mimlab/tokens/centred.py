"""Centre views of images, as tokenizers are fitted to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt8

from mimlab.data.rendering import Samples
from mimlab.data.views import Views, center_views
from mimlab.tokens.pixels import rendered


class Centred(NamedTuple):
    """Images that could be read."""

    indices: Int64[np.ndarray, " batch"]
    """Of the rows of the table."""
    pixels: UInt8[np.ndarray, "batch size size 3"]


def centred(table: pa.Table, size: int, *, batch: int, threads: int) -> Iterator[Centred]:
    """Centre views of a table's images in `size` pixels, `batch` at a time, without those that
    cannot be decoded. The columns of the table are those of shards."""
    first = 0
    for seen in rendered([table.combine_chunks()], _centre, size, chunk=batch, threads=threads):
        readable = np.delete(np.arange(len(seen.ids)), seen.unreadable)
        yield Centred(readable + first, seen.views[readable, 0])
        first += len(seen.ids)


def _centre(samples: Samples) -> list[Views]:
    return [center_views(widths=samples.widths, heights=samples.heights)]
