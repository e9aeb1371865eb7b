"""`digits`: a data set that is always there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mimlab.data.builtin import built_in, resolve_images
from mimlab.data.inspection import inspect
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError


def test_digits_are_scikit_learns_images_once_each(tmp_path: Path) -> None:
    ours = set()
    for file in built_in("digits", tmp_path).glob("t*.parquet"):
        for row in pq.read_table(file).to_pylist():
            pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
            ours.add((pixels.tobytes(), row["label"]))
    grey, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    pixels = np.rint(grey * 255 / 16).astype(np.uint8)
    assert ours == {(p.tobytes(), int(t)) for p, t in zip(pixels, labels, strict=True)}


def test_four_fifths_of_every_class_train(tmp_path: Path) -> None:
    train, test = inspect(built_in("digits", tmp_path)).splits
    assert train.rows + test.rows == 1797
    for digit in "0123456789":
        count = train.classes[digit] + test.classes[digit]
        assert abs(train.classes[digit] - 0.8 * count) <= 0.5


def test_it_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """A trial on digits is known by this: a change of it is a change of numbers."""
    found = DataSet.open(built_in("digits", tmp_path), verify=True).fingerprint
    assert found == "16cadd4e099f824c29bf2a79f7217b5cecbc131dd06eb5417817ed09fb71ae43"


def test_it_is_made_once(tmp_path: Path) -> None:
    root = built_in("digits", tmp_path)
    before = (root / "manifest.json").stat().st_mtime_ns
    assert built_in("digits", tmp_path) == root
    assert (root / "manifest.json").stat().st_mtime_ns == before


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from mimlab.data.builtin import built_in, resolve_images;"
        "print(resolve_images('digits', pathlib.Path(sys.argv[1])))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    started = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = {process.communicate(timeout=120)[0] for process in started}
    assert len(printed) == 1
    assert [process.returncode for process in started] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 1
    assert DataSet.open(printed.pop().strip(), verify=True).manifest.images == 1797


def test_anything_else_is_a_path(tmp_path: Path) -> None:
    assert resolve_images(str(tmp_path / "mine"), tmp_path) == tmp_path / "mine"
    assert str(resolve_images("s3://team/images/", tmp_path)) == "s3://team/images"
    with pytest.raises(UserError, match=r"ftp://team/images: no file system is called ftp://"):
        resolve_images("ftp://team/images", tmp_path)
