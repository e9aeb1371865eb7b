"""Images that cannot be read, and imports that cannot be finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mimlab.data import importing
from mimlab.data.importing import import_data
from mimlab.data.inspection import inspect
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError


@pytest.fixture
def source(tmp_path: Path, class_folders: Callable, encode: Callable) -> Path:
    """200 images, of which 4 cannot be read."""
    class_folders(tmp_path / "in", ["ant", "bee"], 98)
    bad = {
        "ant/cut.jpg": encode(kind="JPEG")[:-30],
        "ant/empty.png": b"",
        "bee/page.jpg": b"<html>not found</html>",
        "bee/void.jpg": b"",
    }
    for name, content in bad.items():
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path / "in"


def test_more_than_one_percent_fails_and_leaves_nothing(
    ray_local: None, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        import_data(source, tmp_path / "out")
    message = str(caught.value)
    assert "4 of 200 images (2.0%) cannot be read, more than the 1.0% allowed" in message
    assert "2 × empty: ant/empty.png, bee/void.jpg" in message
    assert "1 × truncated JPEG: ant/cut.jpg" in message
    assert "1 × not an image: bee/page.jpg" in message
    assert "--max-rejects 0.02" in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_allowed_is_left_out_and_named(
    ray_local: None, source: Path, tmp_path: Path, read_rows: Callable
) -> None:
    data = import_data(source, tmp_path / "out", max_reject_share=0.02)
    rejected = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert [(row["split"], row["source"], row["reason"]) for row in rejected] == [
        ("train", "ant/cut.jpg", "truncated JPEG"),
        ("train", "ant/empty.png", "empty"),
        ("train", "bee/page.jpg", "not an image"),
        ("train", "bee/void.jpg", "empty"),
    ]
    assert data.manifest.rejects == 4
    assert data.manifest.images == 196
    assert read_rows(data.root, "train")["id"].to_pylist() == list(range(196))
    found = inspect(data.root, verify=True)
    assert found.rejects == {"empty": 2, "truncated JPEG": 1, "not an image": 1}


def test_a_split_without_a_readable_image_is_refused(
    ray_local: None, tmp_path: Path, class_folders: Callable
) -> None:
    class_folders(tmp_path / "in" / "train", ["ant"], 3)
    (tmp_path / "in" / "test").mkdir()
    (tmp_path / "in" / "test" / "a.png").touch()
    with pytest.raises(UserError, match="split test has no readable image"):
        import_data(tmp_path / "in", tmp_path / "out", max_reject_share=1.0)


def test_images_named_in_parquet_say_where_they_were(
    ray_local: None, tmp_path: Path, write_parquet: Callable, encode: Callable
) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", [encode(), None, b"text"], [0, 0, 0])
    with pytest.raises(UserError) as caught:
        import_data(tmp_path / "in", tmp_path / "out")
    assert "1 × empty: a.parquet row group 0 row 1 (1.png)" in str(caught.value)
    assert "1 × not an image: a.parquet row group 0 row 2 (2.png)" in str(caught.value)


def test_damaged_pages_of_the_source_stop_the_import_with_its_name(
    ray_local: None, tmp_path: Path, write_parquet: Callable, encode: Callable
) -> None:
    file = tmp_path / "in" / "a.parquet"
    write_parquet(file, [encode(i) for i in range(50)], [0] * 50)
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196
    file.write_bytes(content)
    with pytest.raises(UserError, match="the import stopped"):
        import_data(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_existing_target_is_refused_before_anything_is_read(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(UserError, match="exists already"):
        import_data(source, tmp_path / "out")


def test_an_error_while_the_manifest_is_made_leaves_nothing(
    ray_local: None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "commit", full)
    with pytest.raises(OSError, match="No space left"):
        import_data(source, tmp_path / "out", max_reject_share=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


KILLED = """
import os, pathlib, signal, sys
from mimlab.data.importing import ShardSize, import_data

def on_progress(done, total):
    if 2 * done > total:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    import_data(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), max_reject_share=1.0,
                shards=ShardSize(rows=20), on_progress=on_progress)
"""


@pytest.mark.slow
def test_an_import_killed_while_it_writes_is_no_data_set_and_can_be_repeated(
    ray_local: None, source: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(tmp_path / "out")],
        env=env,
        capture_output=True,
        timeout=200,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    [left] = [path for path in tmp_path.iterdir() if path.name != "in"]
    assert left.name.startswith("out.partial-")
    with pytest.raises(UserError, match=r"no manifest\.json"):
        DataSet.open(left)
    time.sleep(1)  # the killed driver's workers may still be ending
    import_data(source, tmp_path / "out", max_reject_share=1.0)
    assert DataSet.open(tmp_path / "out", verify=True).manifest.images == 196
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
