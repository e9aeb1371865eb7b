from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimlab.data.fingerprint import combined, split_fingerprint
from mimlab.data.manifest import DataSet, Manifest, ShardEntry, SizeRange, Split, SplitEntry
from mimlab.data.shards import shard_name, table_of, write_shard

GROUP_ROWS = 4
SHARD_ROWS = 12


@pytest.fixture
def split_of(tmp_path: Path) -> Callable[[Sequence[bytes]], Split]:
    """Writes a split of these images: row groups of 4 rows, shards of 3; label = id mod 10."""

    def write(images: Sequence[bytes]) -> Split:
        entries = [
            _write_shard(tmp_path / f"train-{start:05d}.parquet", images, start)
            for start in range(0, len(images), SHARD_ROWS)
        ]
        entry = SplitEntry(name="train", rows=len(images), fingerprint="", shards=entries)
        return Split(tmp_path, entry, first_id=0)

    return write


@pytest.fixture(scope="session")
def named_data() -> Callable[..., DataSet]:
    """Writes a whole data set: split → name → pixels, in shards of 12 rows and one row group."""

    def write(folder: Path, splits: dict[str, dict[str, np.ndarray]], version: int = 2) -> DataSet:
        folder.mkdir(parents=True)
        entries, first_id = [], 0
        for split, images in splits.items():
            entry = _write_split(folder, split, images, first_id)
            entries.append(entry)
            first_id += entry.rows
        side = SizeRange(min=1, median=1, max=1)
        manifest = Manifest(
            version=version,  # pyright: ignore[reportArgumentType]
            fingerprint=combined((e.name, e.rows, e.fingerprint) for e in entries),
            images=first_id,
            classes=[],
            splits=entries,
            width=side,
            height=side,
            seed=0,
            rejects=0,
            converted={},
            ignored=0,
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json())
        return DataSet.open(folder)

    return write


def _write_split(
    folder: Path, split: str, images: dict[str, np.ndarray], first_id: int
) -> SplitEntry:
    names = list(images)
    starts = range(0, len(names), SHARD_ROWS)
    shards, digests = [], []
    for number, start in enumerate(starts):
        part = names[start : start + SHARD_ROWS]
        rows = table_of(
            [png(images[name]) for name in part],
            [None] * len(part),
            [(images[name].shape[1], images[name].shape[0]) for name in part],
            part,
        )
        path = folder / shard_name(split, number, len(starts))
        shard, found = write_shard(path, rows, first_id=first_id + start)
        shards.append(shard)
        digests.append(found)
    return SplitEntry(
        name=split, rows=len(names), fingerprint=split_fingerprint(digests), shards=shards
    )


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


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
