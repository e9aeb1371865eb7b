"""Shards: ids, row groups, and a fingerprint that anybody can compute again."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.data import shards
from mimlab.data.fingerprint import combined, shard_digests, split_fingerprint
from mimlab.data.shards import ROW_GROUP_ROWS, SCHEMA, table_of, write_shard


def write(path: Path, count: int, first_id: int = 0):
    images = [f"image {i}".encode() for i in range(count)]
    labels = [None if i % 7 == 0 else i % 10 for i in range(count)]
    return write_shard(path, table_of(images, labels, [(3, 2)] * count), first_id=first_id)


@given(count=st.integers(1, 2000))
@settings(max_examples=25, deadline=None)
def test_row_groups_are_full_but_equal(
    tmp_path_factory: pytest.TempPathFactory, count: int
) -> None:
    path = tmp_path_factory.mktemp("shards") / "a.parquet"
    entry, digests = write(path, count)
    groups = entry.row_groups
    assert sum(groups) == entry.rows == count
    assert max(groups) - min(groups) <= 1
    assert max(groups) <= ROW_GROUP_ROWS
    assert len(groups) == -(-count // ROW_GROUP_ROWS)
    assert len(digests) == 32 * count


def test_large_images_make_smaller_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1000)
    table = table_of([bytes(90)] * 100, [0] * 100, [(1, 1)] * 100)
    entry, _ = write_shard(tmp_path / "a.parquet", table, first_id=0)
    assert 9 <= len(entry.row_groups) <= 11


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    entry, _ = write(tmp_path / "a.parquet", 300, first_id=1000)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema == SCHEMA
    assert table["id"].to_pylist() == list(range(1000, 1300))
    assert table["image"][299].as_py() == b"image 299"
    assert table["label"].to_pylist()[:3] == [None, 1, 2]
    assert entry.bytes == (tmp_path / "a.parquet").stat().st_size
    assert entry.sha256 == hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()


def test_the_fingerprint_is_the_documented_hash(tmp_path: Path) -> None:
    _, digests = write(tmp_path / "a.parquet", 3, first_id=5)
    rows = [(5, -1, b"image 0"), (6, 1, b"image 1"), (7, 2, b"image 2")]
    by_hand = b"".join(
        hashlib.sha256(struct.pack("<qq", id_, label) + image).digest()
        for id_, label, image in rows
    )
    assert digests == by_hand
    split = hashlib.sha256(by_hand).hexdigest()
    assert split_fingerprint(shard_digests(tmp_path / "a.parquet")) == split
    line = f"train 3 {split}\n".encode()
    assert combined([("train", 3, split)]) == hashlib.sha256(line).hexdigest()


def test_the_fingerprint_does_not_see_files_row_groups_or_compression(tmp_path: Path) -> None:
    write(tmp_path / "whole.parquet", 600)
    table = pq.read_table(tmp_path / "whole.parquet")
    pq.write_table(table[:100], tmp_path / "0.parquet", compression="zstd", row_group_size=7)
    pq.write_table(table[100:], tmp_path / "1.parquet", compression="snappy")
    parts = [d for name in ("0", "1") for d in shard_digests(tmp_path / f"{name}.parquet")]
    whole = split_fingerprint(shard_digests(tmp_path / "whole.parquet"))
    assert split_fingerprint(parts) == whole


@pytest.mark.parametrize("column", ["id", "image", "label"])
def test_the_fingerprint_sees_every_change_of_content(tmp_path: Path, column: str) -> None:
    write(tmp_path / "a.parquet", 20)
    table = pq.read_table(tmp_path / "a.parquet")
    values = table[column].to_pylist()
    values[9], values[10] = values[10], values[9]
    position = table.schema.get_field_index(column)
    changed = table.set_column(position, column, [values])
    pq.write_table(changed, tmp_path / "b.parquet")
    a, b = (split_fingerprint(shard_digests(tmp_path / f"{name}.parquet")) for name in "ab")
    assert a != b
