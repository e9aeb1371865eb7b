"""Real images: photographs from ImageNet, and CIFAR-10 as it is published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mimlab.data.importing import ShardSize, import_data
from mimlab.data.inspection import inspect

pytestmark = pytest.mark.slow


def test_every_photograph_arrives_byte_for_byte(
    ray_local: None, test_data: Path, tmp_path: Path, read_rows: Callable
) -> None:
    source = test_data / "imagenet-sample"
    data = import_data(source, tmp_path / "out", shards=ShardSize(bytes=4 << 20))
    found = inspect(data.root, verify=True)
    assert (found.images, found.rejects, found.converted) == (200, {}, {})
    assert len(data.classes) == 200
    assert found.splits[0].shards > 2
    files = {path.read_bytes(): path.parent.name for path in source.rglob("*.JPEG")}
    rows = read_rows(data.root, "train")
    labels = [data.classes[label] for label in rows["label"].to_pylist()]
    assert dict(zip(rows["image"].to_pylist(), labels, strict=True)) == files


def test_cifar_arrives_whole_and_mixed(
    ray_local: None, test_data: Path, tmp_path: Path, read_rows: Callable
) -> None:
    source = test_data / "cifar10"
    data = import_data(source, tmp_path / "out")
    found = inspect(data.root, verify=True)
    assert data.classes == (source / "classes.txt").read_text().split()
    assert [(s.name, set(s.classes.values())) for s in found.splits] == [
        ("train", {5000}),
        ("test", {1000}),
    ]
    rows = read_rows(data.root, "test")
    table = pq.read_table(source / "test-00000-of-00001.parquet")
    images = [image["bytes"] for image in table["img"].to_pylist()]
    theirs = sorted(zip(images, table["label"].to_pylist(), strict=True))
    assert sorted(zip(rows["image"].to_pylist(), rows["label"].to_pylist(), strict=True)) == theirs
    labels = np.array(read_rows(data.root, "train")["label"].to_pylist())
    counts = np.stack([np.bincount(part, minlength=10) for part in np.split(labels, 50)])
    # 1,000 rows at a time hold about 100 of each class: sd 9.4, five of them.
    assert np.abs(counts - 100).max() < 50
