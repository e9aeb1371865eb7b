"""`mimlab data import` killed while it is at work, and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.data.importing import import_data
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError

MOMENTS = ("out.partial-*", "out.partial-*/*/*.arrow", "out.partial-*/train-*.parquet")
"""Begun, checking, writing: what then lies beside the data set's folder."""

GIVE_UP_S = 200


def start(source: Path, out: Path) -> subprocess.Popen[bytes]:
    command = "from mimlab.cli.main import main; main()"
    arguments = ["data", "import", str(source), "--to", str(out), "--seed", "3"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process: subprocess.Popen[bytes], there: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not there() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_an_import_killed_at_any_moment_is_repeated_as_if_it_had_not_begun(
    ray_local: None, test_data: Path, tmp_path: Path
) -> None:
    source, out = test_data / "imagenet-sample", tmp_path / "out"
    undisturbed = import_data(source, tmp_path / "undisturbed", seed=3)
    for moment in MOMENTS:
        old = set(tmp_path.glob("out.partial-*"))
        process = start(source, out)
        kill_when(
            process,
            lambda moment=moment, old=old: any(
                not old & {path, *path.parents} for path in tmp_path.glob(moment)
            ),
        )
        assert not out.exists()
        left = [path for path in tmp_path.iterdir() if path.name != "undisturbed"]
        assert len(left) == 1  # the next attempt removes what the last one left
        with pytest.raises(UserError, match=r"no manifest\.json"):
            DataSet.open(left[0])
    assert start(source, out).wait(GIVE_UP_S) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "undisturbed"]
    assert DataSet.open(out, verify=True).fingerprint == undisturbed.fingerprint
