from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimlab.data.manifest import ShardEntry, Split, SplitEntry

GROUP_ROWS = 4
SHARD_ROWS = 12


@pytest.fixture(scope="session")
def split_in() -> Callable[[Path, Sequence[bytes]], Split]:
    """Writes a split of these images: row groups of 4 rows, shards of 3; label = id mod 10."""

    def write(folder: Path, images: Sequence[bytes]) -> Split:
        entries = [
            _write_shard(folder / f"train-{start:05d}.parquet", images, start)
            for start in range(0, len(images), SHARD_ROWS)
        ]
        entry = SplitEntry(name="train", rows=len(images), fingerprint="", shards=entries)
        return Split(folder, entry, first_id=0)

    return write


@pytest.fixture
def split_of(tmp_path: Path, split_in: Callable) -> Callable[[Sequence[bytes]], Split]:
    """The same, in a folder of the test's own."""
    return lambda images: split_in(tmp_path, images)


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """90 small photographs of nothing, no two alike; every third a PNG, every fifth grey."""
    return [_picture(index) for index in range(90)]


def _write_shard(path: Path, images: Sequence[bytes], start: int) -> ShardEntry:
    ids = list(range(start, min(start + SHARD_ROWS, len(images))))
    table = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "image": pa.array([images[i] for i in ids], pa.binary()),
            "label": pa.array([i % 10 if i % 7 else None for i in ids], pa.int32()),
            "width": pa.array([20 + i % 5 for i in ids], pa.int32()),
            "height": pa.array([24] * len(ids), pa.int32()),
        }
    )
    pq.write_table(table, path, row_group_size=GROUP_ROWS)
    groups = [len(ids[at : at + GROUP_ROWS]) for at in range(0, len(ids), GROUP_ROWS)]
    return ShardEntry(file=path.name, rows=len(ids), row_groups=groups, bytes=0, sha256="")


def _picture(index: int) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (24, 20 + index % 5, 3), np.uint8)
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert("L") if index % 5 == 0 else image).save(out, "JPEG" if index % 3 else "PNG")
    return out.getvalue()
