"""A data set is there as a whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mimlab.data.publishing import publishing, write_durably
from mimlab.errors import UserError

HANG = """
import pathlib, sys, time
from mimlab.data.publishing import publishing
with publishing(pathlib.Path(sys.argv[1])) as folder:
    (folder / "half").write_text("written")
    print("ready", flush=True)
    time.sleep(600)
"""


def start_and_wait(out: Path) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, str(out)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with publishing(out) as folder:
        write_durably(folder / "file", b"content")
        assert not out.exists()
    assert (out / "file").read_bytes() == b"content"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), publishing(tmp_path / "out") as folder:
        (folder / "half").write_text("written")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_data_set_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    end(start_and_wait(tmp_path / "out"))
    [left] = tmp_path.iterdir()
    assert left.name.startswith("out.partial-")
    with publishing(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_process_at_work_is_left_alone_and_the_first_to_finish_wins(tmp_path: Path) -> None:
    process = start_and_wait(tmp_path / "out")
    try:
        with publishing(tmp_path / "out") as folder:
            (folder / "mine").touch()
        [other] = tmp_path.glob("out.partial-*")
        assert (other / "half").exists()
    finally:
        end(process)


def test_who_comes_second_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), publishing(tmp_path / "out") as late:
        (late / "mine").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"out: exists already"), publishing(tmp_path / "out"):
        pass


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with publishing(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert (tmp_path / "out" / "file").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"), publishing(tmp_path / "file" / "out"):
        pass
