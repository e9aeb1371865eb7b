"""Codes and features as bytes: a view of a sample is one fixed number of them in a Parquet column.

Kept free of torch, because the processes that only read import it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

StoredType = Literal["uint8", "uint16", "int32", "float16"]


def type_of_codes(width: int) -> StoredType:
    """The smallest type that holds `width` codes."""
    if width <= 1 << 8:
        return "uint8"
    return "uint16" if width <= 1 << 16 else "int32"


def little(dtype: str) -> np.dtype:
    """The type as it lies in files, little-endian."""
    return np.dtype(dtype).newbyteorder("<")


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of one view of one sample."""
    return little(dtype).itemsize * math.prod(shape)


def packed(values: Shaped[np.ndarray, "rows ..."], dtype: str) -> pa.FixedSizeBinaryArray:
    """A column whose elements are the bytes of the rows. Values must fit into the type."""
    rows = np.ascontiguousarray(values, little(dtype))
    kind = pa.binary(bytes_of(dtype, rows.shape[1:]))
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def unpacked(
    column: pa.Array | pa.ChunkedArray, dtype: str, shape: tuple[int, ...]
) -> Shaped[np.ndarray, "rows ..."]:
    """The rows that `packed` made, read-only, without a copy where the column is in one piece.

    Raises ValueError where its elements have another number of bytes.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if not pa.types.is_fixed_size_binary(kind) or kind.byte_width != bytes_of(dtype, shape):
        raise ValueError(
            f"holds {kind}, but {dtype} of shape {shape} are {bytes_of(dtype, shape)} bytes"
        )
    data = np.frombuffer(column.buffers()[1], little(dtype)).reshape(-1, *shape)
    return data[column.offset : column.offset + len(column)]
