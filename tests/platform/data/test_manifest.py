"""A data set that lies, is torn or is not one, is told apart from one that is whole."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mimlab.data.builtin import make_digits
from mimlab.data.fingerprint import file_sha256
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError

SHARD = "train-00000-of-00001.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_digits(tmp_path)
    return tmp_path


def refusal(root: Path, *, verify: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        DataSet.open(root, verify=verify)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(root: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((root / "manifest.json").read_text())
    change(content)
    (root / "manifest.json").write_text(json.dumps(content))


def train_shard(content: dict) -> dict:
    return content["splits"][0]["shards"][0]


def test_a_whole_data_set_opens(root: Path) -> None:
    data = DataSet.open(root, verify=True)
    assert data.manifest.images == 1797
    assert [split.first_id for split in data.splits.values()] == [0, data.split("train").num_rows]


def test_a_split_finds_its_row_groups(root: Path) -> None:
    split = DataSet.open(root).split("test")
    assert split.rows_per_group.dtype == np.int64
    assert split.rows_per_group.sum() == split.num_rows
    first = split.first_id
    for group, rows in enumerate(split.rows_per_group):
        path, local = split.locate(group)
        ids = pq.ParquetFile(path).read_row_group(local, columns=["id"])["id"].to_pylist()
        assert ids == list(range(first, first + rows))
        first += rows
    with pytest.raises(IndexError):
        split.locate(len(split.rows_per_group))


def test_row_groups_count_on_over_shards(root: Path) -> None:
    """A split of several files, made here by naming both splits' shards under one."""

    def join(content: dict) -> None:
        train, test = content["splits"]
        train["shards"] += test["shards"]
        train["rows"] += test["rows"]
        content["splits"] = [train]

    edit(root, join)
    split = DataSet.open(root).split("train")
    first, second = split.shards
    assert (first.first_group, second.first_group) == (0, first.num_groups)
    assert split.locate(first.num_groups - 1) == (first.path, first.num_groups - 1)
    assert split.locate(first.num_groups) == (second.path, 0)
    assert len(split.rows_per_group) == first.num_groups + second.num_groups


def test_a_data_set_travels_to_workers(root: Path) -> None:
    data = DataSet.open(root)
    assert data.split("train").num_rows  # fills its caches
    assert pickle.loads(pickle.dumps(data)) == data


def test_an_unknown_split_names_those_there_are(root: Path) -> None:
    with pytest.raises(UserError, match="no split named 'val'; it has train, test"):
        DataSet.open(root).split("val")


def test_no_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    assert "no manifest.json" in refusal(tmp_path)
    assert "mimlab data import" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"[]", "not the manifest of a mimlab data set"),
        (b'{"format": "other"}', "not the manifest of a mimlab data set"),
        (b'{"format": "mimlab-shards", "version": 9}', "format version 9, but this mimlab reads"),
        (b'{"format": "mimlab-shards", "version": 1}', "Field required"),
    ],
)
def test_a_manifest_that_is_none(root: Path, content: bytes, reason: str) -> None:
    (root / "manifest.json").write_bytes(content)
    assert reason in refusal(root)


def test_a_shard_may_not_lie_outside(root: Path) -> None:
    edit(root, lambda content: train_shard(content).update(file="../secrets.parquet"))
    assert "a file name without folders" in refusal(root)


def test_a_missing_shard(root: Path) -> None:
    (root / SHARD).unlink()
    assert f"{SHARD}: missing, although manifest.json lists it" in refusal(root)


def test_a_shard_cut_in_half(root: Path) -> None:
    content = (root / SHARD).read_bytes()
    (root / SHARD).write_bytes(content[: len(content) // 2])
    assert "cut short or changed" in refusal(root)


def test_a_shard_of_the_right_size_that_is_no_parquet(root: Path) -> None:
    (root / SHARD).write_bytes(bytes((root / SHARD).stat().st_size))
    assert f"{SHARD}: not a Parquet file" in refusal(root)


def test_other_rows_than_promised(root: Path) -> None:
    def lie(content: dict) -> None:
        train_shard(content)["row_groups"][0] += 1
        train_shard(content)["rows"] += 1
        content["splits"][0]["rows"] += 1
        content["images"] += 1

    edit(root, lie)
    assert "rows in 6 row groups where manifest.json says" in refusal(root)


def test_other_row_groups_than_promised(root: Path) -> None:
    table = pq.read_table(root / SHARD)
    pq.write_table(table, root / SHARD, row_group_size=100)
    edit(root, lambda content: train_shard(content).update(bytes=(root / SHARD).stat().st_size))
    assert "in 15 row groups where manifest.json says" in refusal(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(images=1), "do not add up to 1 images"),
        (lambda content: content["splits"][0].update(rows=1), "do not add up to its rows"),
        (lambda content: train_shard(content).update(rows=1), "do not add up to its rows"),
    ],
)
def test_a_manifest_that_contradicts_itself(root: Path, change: Callable, reason: str) -> None:
    edit(root, change)
    assert reason in refusal(root)


def flip_an_image_byte(root: Path) -> None:
    content = bytearray((root / SHARD).read_bytes())
    content[content.index(b"IDAT") + 8] ^= 1
    (root / SHARD).write_bytes(content)


def test_a_flipped_byte_is_seen_when_asked(root: Path) -> None:
    flip_an_image_byte(root)
    DataSet.open(root)
    assert f"{SHARD}: its content is not what manifest.json says" in refusal(root, verify=True)


def test_a_hash_that_was_adjusted_does_not_hide_it(root: Path) -> None:
    flip_an_image_byte(root)
    edit(root, lambda content: train_shard(content).update(sha256=file_sha256(root / SHARD)))
    assert "split train: its rows give fingerprint" in refusal(root, verify=True)


def test_a_false_fingerprint(root: Path) -> None:
    edit(root, lambda content: content.update(fingerprint="0" * 64))
    assert "do not give the fingerprint" in refusal(root, verify=True)
