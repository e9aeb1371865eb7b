"""Data sets that benchmarks read, made of the test data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mimlab.data.importing import import_data
from mimlab.data.manifest import Split


def imagenet(folder: Path, images: int) -> Path:
    """The ImageNet JPEGs of `MIMLAB_TEST_DATA`, repeated to `images` files; their folder."""
    source = Path(os.environ["MIMLAB_TEST_DATA"], "imagenet-sample")
    files = sorted(source.glob("*/*.JPEG"))
    for index in range(images):
        file = files[index % len(files)]
        target = folder / file.parent.name / f"{index:06d}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return folder


def shards_of(files: Path, folder: Path, short_side: int | None = None) -> Split:
    """The training split of an import of class folders."""
    return import_data(files, folder, short_side=short_side).split("train")
