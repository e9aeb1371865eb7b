"""The permutation of an import: uniform, seeded, and independent of how the work is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mimlab.data.importing import ShardSize, import_data
from mimlab.data.manifest import DataSet
from mimlab.data.sorting import SplitPlan, places

pytestmark = pytest.mark.usefixtures("ray_local")


def order(seed: int, count: int, name: str = "train") -> np.ndarray:
    return np.argsort(places(SplitPlan(name=name, seed=seed, buckets=1), 0, count))


def test_each_row_is_as_likely_in_every_tenth_of_the_split() -> None:
    counts = np.zeros((50, 10))
    for seed in range(1000):
        counts[order(seed, 50), np.arange(50) * 10 // 50] += 1
    # 1,000 draws with p = 1/10: five standard deviations are 47.
    assert np.abs(counts - 100).max() < 50


def test_neighbours_do_not_stay_together() -> None:
    ranks = np.argsort(order(0, 100_000))
    assert abs(np.corrcoef(ranks[:-1], ranks[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(ranks, np.arange(100_000))[0, 1]) < 0.02


def test_places_depend_on_seed_and_split_but_not_on_the_piece() -> None:
    plan = SplitPlan(name="train", seed=3, buckets=1)
    whole = places(plan, 0, 1000)
    np.testing.assert_array_equal(places(plan, 400, 100), whole[400:500])
    assert not np.array_equal(order(3, 1000), order(4, 1000))
    assert not np.array_equal(order(3, 1000), order(3, 1000, "test"))


@pytest.fixture
def source(tmp_path: Path, class_folders: Callable[..., None]) -> Path:
    class_folders(tmp_path / "source", ["ant", "bee", "cat", "dog"], 40)
    return tmp_path / "source"


def test_a_class_folder_does_not_become_a_run_of_one_class(
    source: Path, tmp_path: Path, read_rows: Callable
) -> None:
    import_data(source, tmp_path / "out")
    labels = np.array(read_rows(tmp_path / "out", "train")["label"].to_pylist())
    assert np.bincount(labels).tolist() == [40] * 4
    # Of 159 pairs of neighbours a quarter share their class; five standard deviations are 27.
    assert abs((labels[1:] == labels[:-1]).sum() - 40) < 27


def test_the_data_set_is_the_same_however_it_is_cut(
    source: Path, tmp_path: Path, read_rows: Callable
) -> None:
    whole = import_data(source, tmp_path / "whole", seed=5)
    cut = import_data(source, tmp_path / "cut", seed=5, shards=ShardSize(rows=16))
    assert len(whole.split("train").shards) == 1
    assert len(cut.split("train").shards) > 5
    assert cut.fingerprint == whole.fingerprint
    rows = read_rows(tmp_path / "cut", "train")
    assert rows.equals(read_rows(tmp_path / "whole", "train"))
    assert rows["id"].to_pylist() == list(range(160))
    for group, rows_here in enumerate(cut.split("train").rows_per_group):
        path, local = cut.split("train").locate(group)
        assert 0 < rows_here <= 256
        assert path.exists()
        assert local == 0
    assert DataSet.open(tmp_path / "cut", verify=True).fingerprint == whole.fingerprint


def test_another_seed_gives_another_order_of_the_same_images(
    source: Path, tmp_path: Path, read_rows: Callable
) -> None:
    first = import_data(source, tmp_path / "first", seed=0)
    second = import_data(source, tmp_path / "second", seed=1)
    assert first.fingerprint != second.fingerprint
    images = [
        read_rows(tmp_path / name, "train")["image"].to_pylist() for name in ("first", "second")
    ]
    assert images[0] != images[1]
    assert sorted(images[0]) == sorted(images[1])
