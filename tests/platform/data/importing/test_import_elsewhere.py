"""Sources and data sets in a bucket are what they are on a disk."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mimlab.data.claiming import CLAIM, Claim
from mimlab.data.importing import ShardSize, import_data
from mimlab.data.inspection import inspect
from mimlab.data.manifest import MANIFEST, DataSet
from mimlab.data.reader import iter_rows, read_rows
from mimlab.errors import UserError
from mimlab.storage.machine import process_born
from mimlab.storage.remote_path import RemotePath, place_of
from mimlab.train.fixed_images import fixed_images

FEW_ROWS = ShardSize(rows=40)


@pytest.fixture
def source(tmp_path: Path, encode, write_parquet) -> Path:
    """Parquet of two splits."""
    for split, count in (("train", 120), ("test", 30)):
        images = [encode(number) for number in range(count)]
        labels = [number % 3 for number in range(count)]
        file = tmp_path / "source" / f"{split}-00000-of-00001.parquet"
        write_parquet(file, images, labels, names=["ant", "bee", "cat"])
    return tmp_path / "source"


def uploaded(folder: Path, to: str) -> str:
    """Every file of a folder, in a bucket."""
    root = place_of(to)
    for file in folder.rglob("*"):
        if file.is_file():
            (root / str(file.relative_to(folder))).write_bytes(file.read_bytes())
    return to


def names(uri: str) -> list[str]:
    root = place_of(uri)
    assert isinstance(root, RemotePath)
    return [name for name, _ in root.entries(recursive=True)]


def test_a_bucket_holds_the_data_set_that_a_disk_holds(
    ray_local: None, bucket, source: Path, tmp_path: Path
) -> None:
    uri = bucket.uri("shards/small set")
    here = import_data(source, tmp_path / "here", seed=3, shards=FEW_ROWS)
    there = import_data(source, uri, seed=3, shards=FEW_ROWS)
    assert there.fingerprint == here.fingerprint
    shards = [shard.file for split in here.manifest.splits for shard in split.shards]
    assert len(shards) > 2
    assert sorted(names(uri)) == sorted([MANIFEST, "rejected.parquet", *shards])
    found, known = inspect(uri, verify=True), inspect(tmp_path / "here", verify=True)
    assert found.model_dump(exclude={"root"}) == known.model_dump(exclude={"root"})
    assert found.root.startswith(f"s3://{bucket.name}/shards/small%20set?")


def test_rows_and_boards_are_read_alike(
    ray_local: None, bucket, source: Path, tmp_path: Path
) -> None:
    here = import_data(source, tmp_path / "here", shards=FEW_ROWS)
    there = DataSet.open(uploaded(tmp_path / "here", bucket.uri("shards")))
    picked = np.array([5, 117, 6, 0, 60])
    assert read_rows(there.split("train"), picked) == read_rows(here.split("train"), picked)
    tables = [list(iter_rows(d.split("test"), np.arange(30), 7)) for d in (here, there)]
    assert tables[0] == tables[1]
    boards = [fixed_images(d, "test", 8, 4) for d in (here, there)]
    assert all(one.equal(same) for one, same in zip(*boards, strict=True))


def test_a_folder_of_images_in_a_bucket_is_imported(
    ray_local: None, bucket, class_folders: Callable[..., None], tmp_path: Path
) -> None:
    class_folders(tmp_path / "images", ["ant", "bee 100%"], 20)
    here = import_data(tmp_path / "images", tmp_path / "here")
    uri = uploaded(tmp_path / "images", bucket.uri("images"))
    there = import_data(uri, tmp_path / "there")
    assert there.fingerprint == here.fingerprint
    assert there.classes == ["ant", "bee 100%"]


@pytest.mark.parametrize("name", ["birds-train-0.tar", "birds-train-0.tar.gz"])
def test_parquet_and_tars_in_a_bucket_are_imported(
    ray_local: None, bucket, encode, source: Path, tmp_path: Path, name: str
) -> None:
    tars = tmp_path / "tars"
    tars.mkdir()
    with tarfile.open(tars / name, "w:gz" if name.endswith("gz") else "w") as tar:
        for number in range(20):
            for suffix, data in (("png", encode(number)), ("cls", b"%d" % (number % 2))):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    for folder in (tars, source):
        here = import_data(folder, tmp_path / f"here-{folder.name}")
        uri = uploaded(folder, bucket.uri(folder.name))
        there = import_data(uri, tmp_path / f"there-{folder.name}")
        assert there.fingerprint == here.fingerprint


def test_a_folder_that_holds_something_is_refused_and_kept(bucket, source: Path) -> None:
    uri = uploaded(source, bucket.uri("taken"))
    before = names(uri)
    with pytest.raises(UserError, match="exists already; choose another folder"):
        import_data(source, uri)
    assert names(uri) == before


def claim_by(uri: str, **changes) -> None:
    claim = Claim.own().model_copy(update=changes)
    (place_of(uri) / CLAIM).write_bytes(claim.model_dump_json().encode())


def test_what_a_killed_import_left_is_removed(ray_local: None, bucket, source: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    uri = bucket.uri("shards")
    claim_by(uri, pid=process.pid, process_born=process_born(process.pid))
    (place_of(uri) / "work/0-0-0.arrow").write_bytes(b"half")
    with pytest.raises(UserError, match=r"no manifest\.json, so this is not a data set"):
        DataSet.open(uri)
    with pytest.raises(UserError, match=f"process {process.pid} on {socket.gethostname()} is"):
        import_data(source, uri)
    process.kill()
    process.communicate()
    data = import_data(source, uri)
    assert DataSet.open(uri, verify=True).fingerprint == data.fingerprint
    assert not [name for name in names(uri) if "arrow" in name or name == CLAIM]


def test_a_claim_from_another_machine_is_respected(bucket, source: Path) -> None:
    claim_by(bucket.uri("shards"), host="elsewhere", machine="another", pid=7)
    with pytest.raises(UserError, match="process 7 on elsewhere is importing into it; if that has"):
        import_data(source, bucket.uri("shards"))
    assert names(bucket.uri("shards")) == [CLAIM]


def test_an_import_that_fails_leaves_nothing(
    ray_local: None, bucket, encode, write_parquet, tmp_path
):
    images = [encode(0), *[b"no image"] * 5]
    write_parquet(tmp_path / "source" / "train.parquet", images, [0] * 6)
    with pytest.raises(UserError, match="cannot be read"):
        import_data(tmp_path / "source", bucket.uri("shards"))
    assert names(bucket.uri("shards")) == []


def test_whoever_lost_the_folder_does_not_commit(ray_local: None, bucket, source: Path) -> None:
    uri = bucket.uri("shards")

    def lose_it(done: int, total: int) -> None:
        claim_by(uri, pid=os.getpid() + 1)

    with pytest.raises(UserError, match="another import has taken this folder"):
        import_data(source, uri, on_progress=lose_it)
    assert MANIFEST not in names(uri) and CLAIM in names(uri)
