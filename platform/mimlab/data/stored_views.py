"""Views of a token store: what was computed beforehand of the view that each sample is seen in.

Kept free of torch, because the processes that only read import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, Shaped

from mimlab.data.reader import ColumnSource
from mimlab.data.sidecar import VIEW_COLUMN
from mimlab.tokens.packing import unpacked

STORED = "stored"
"""Column of each sample's own view, beside those of the images."""
_STORE = "tokens"

Numbers = Int64[np.ndarray, " batch"]


@dataclass(frozen=True)
class StoredView:
    """Codes or features of recorded views. An epoch uses view number epoch mod `count`."""

    root: str
    """Of the store: an absolute path, or a URI that pyarrow knows."""
    count: int
    """Recorded views of an image."""
    dtype: str
    """Of a value as it is stored."""
    shape: tuple[int, ...]
    """Of one view of one image: (tokens,) codes, or (tokens, width) features."""

    @property
    def codes(self) -> bool:
        """Rather than features."""
        return len(self.shape) == 1

    @property
    def read_as(self) -> type[np.int64] | type[np.float16]:
        """The type in which batches have it."""
        return np.int64 if self.codes else np.float16

    def numbers(self, epochs: Numbers) -> Numbers:
        """The view in which each sample is seen."""
        return epochs % self.count

    def source(self, epochs: Numbers) -> ColumnSource:
        """The columns that samples of these epochs need, and no others."""
        needed = np.unique(self.numbers(epochs)).tolist()
        columns = ("id", *(VIEW_COLUMN.format(number) for number in needed))
        return ColumnSource(self.root, columns, sidecar=_STORE)

    def chosen(self, samples: pa.Table) -> pa.Table:
        """Samples with their epochs: one column, `STORED`, in the place of those of the views."""
        names = [name for name in samples.column_names if name.startswith(f"{_STORE}.")]
        if len(names) == 1:
            column = samples[names[0]].combine_chunks()
        else:
            column = self._of_each(samples, names)
        return samples.drop_columns(names).append_column(STORED, column)

    def values(self, column: pa.Array) -> Shaped[np.ndarray, "batch ..."]:
        """The rows of that column, read-only. Raises ValueError where they have other sizes."""
        return unpacked(column, self.dtype, self.shape)

    def _of_each(self, samples: pa.Table, names: list[str]) -> pa.FixedSizeBinaryArray:
        """Where an epoch ends within the samples, rows of several views."""
        numbers = self.numbers(samples["epoch"].to_numpy())
        kind = samples[names[0]].type
        out = np.empty((samples.num_rows, kind.byte_width), np.uint8)
        for name in names:
            own = numbers == int(name.rpartition("_")[2])
            out[own] = unpacked(samples[name], "uint8", (kind.byte_width,))[own]
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(out), [None, pa.py_buffer(out)])
