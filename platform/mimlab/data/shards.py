"""Writing shards: the Parquet files of a split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mimlab.data.fingerprint import file_sha256, row_digests
from mimlab.data.publishing import sync_file
from mimlab.data.shard_files import ShardEntry, shard_writer

ROW_GROUP_ROWS = 256
ROW_GROUP_BYTES = 64 << 20
"""Fewer rows where images are large: a row group is read as one piece."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.int32()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("name", pa.string()),
    ]
)


def shard_name(split: str, index: int, count: int) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def write_shard(path: Path, rows: pa.Table, *, first_id: int) -> tuple[ShardEntry, bytes]:
    """Write the columns of `table_of` in the order given, as ids from `first_id` on.

    Row groups are as equal as can be, so that a shuffle of row groups treats them alike. Returns
    the manifest's entry and the digests of the rows.
    """
    sizes, digests = [], []
    with shard_writer(path, SCHEMA) as writer:
        for group in _groups(rows, first_id):
            writer.write_table(group, row_group_size=group.num_rows)
            sizes.append(group.num_rows)
            digests.append(row_digests(group))
    sync_file(path)
    entry = ShardEntry(
        file=path.name,
        rows=rows.num_rows,
        row_groups=sizes,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )
    return entry, b"".join(digests)


def _groups(rows: pa.Table, first_id: int) -> Iterator[pa.Table]:
    by_bytes = math.ceil(rows["image"].nbytes / ROW_GROUP_BYTES)
    count = max(math.ceil(rows.num_rows / ROW_GROUP_ROWS), by_bytes)
    count = min(count, rows.num_rows)
    bounds = np.arange(count + 1) * rows.num_rows // max(count, 1)
    ids = pa.array(np.arange(first_id, first_id + rows.num_rows))
    numbered = rows.select(SCHEMA.names[1:]).add_column(0, SCHEMA.field("id"), ids)
    for start, stop in itertools.pairwise(bounds.tolist()):
        yield numbered.slice(start, stop - start).cast(SCHEMA)


def table_of(
    images: Sequence[bytes],
    labels: Sequence[int | None],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str | None] | None = None,
) -> pa.Table:
    """Rows for `write_shard`; `sizes` are (width, height), `names` those of files at the source."""
    return pa.table(
        {
            "image": pa.array(images, pa.large_binary()),
            "label": pa.array(labels, pa.int32()),
            "width": pa.array([width for width, _ in sizes], pa.int32()),
            "height": pa.array([height for _, height in sizes], pa.int32()),
            "name": pa.array(names or [None] * len(images), pa.string()),
        }
    )
