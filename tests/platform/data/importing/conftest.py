"""Small images and sources, made on the spot."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimlab.data.manifest import DataSet
from mimlab.data.sources import list_source

Encode = Callable[..., bytes]
Listed = Callable[[Path], dict[str, dict[str, int | None]]]


@pytest.fixture
def listed() -> Listed:
    """What an import would read: split → file → label."""

    def listed(source: Path) -> dict[str, dict[str, int | None]]:
        found = list_source(source)
        result: dict[str, dict[str, int | None]] = {split.name: {} for split in found.splits}
        for piece in found.pieces:
            rows = {row.name: row.label for row in piece.read()}
            result[found.splits[piece.split].name].update(rows)
        return result

    return listed


@pytest.fixture
def encode() -> Encode:
    """An encoded image: `encode(number)` is a 12 × 10 picture that no other number gives."""

    def encode(number: int = 0, *, mode: str = "RGB", kind: str = "PNG", **options) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(out, kind, **options)
        return out.getvalue()

    return encode


@pytest.fixture
def write_parquet() -> Callable[..., None]:
    """Writes Parquet as Hugging Face does."""

    def write(
        path: Path,
        images: Sequence[bytes | None],
        labels: Sequence[int],
        *,
        names: Sequence[str] = (),
        columns: tuple[str, str] = ("image", "label"),
    ) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        rows = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)]
        arrays = [pa.array(rows, kind), pa.array(labels, pa.int64())]
        table = pa.table(arrays, names=list(columns))
        if names:
            features = {columns[1]: {"names": list(names), "_type": "ClassLabel"}}
            info = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": info})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=50)

    return write


@pytest.fixture
def class_folders(encode: Encode) -> Callable[..., None]:
    """Writes `count` images into each class folder, numbered from `first`."""

    def write(root: Path, classes: Sequence[str], count: int, *, first: int = 0) -> None:
        for position, name in enumerate(classes):
            (root / name).mkdir(parents=True)
            for i in range(count):
                image = encode(first + position * count + i)
                (root / name / f"{i:04d}.png").write_bytes(image)

    return write


@pytest.fixture
def read_rows() -> Callable[[Path, str], pa.Table]:
    """All rows of a split, in the manifest's order."""

    def read(root: Path, split: str) -> pa.Table:
        shards = DataSet.open(root).split(split).shards
        return pa.concat_tables([pq.read_table(shard.path) for shard in shards])

    return read
