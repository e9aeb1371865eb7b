"""Data sets that benchmarks read, made of the test data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mimlab.data.importing import import_data
from mimlab.data.manifest import Split


def imagenet(folder: Path, images: int) -> Split:
    """The ImageNet JPEGs of `MIMLAB_TEST_DATA`, repeated to `images` files and imported."""
    source = Path(os.environ["MIMLAB_TEST_DATA"], "imagenet-sample")
    files = sorted(source.glob("*/*.JPEG"))
    raw = folder / "jpegs"
    for index in range(images):
        file = files[index % len(files)]
        target = raw / file.parent.name / f"{index:06d}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return import_data(raw, folder / "shards").split("train")
