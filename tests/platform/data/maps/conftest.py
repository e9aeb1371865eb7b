from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import MapKind, Sidecar

Maps = Callable[..., Sidecar]


@pytest.fixture
def sidecar_of(tmp_path: Path) -> Maps:
    """Imports pixels, by the names of images, as a sidecar `name` of a data set."""

    def write(
        data: DataSet, name: str, kind: MapKind, maps: dict[str, np.ndarray], **options
    ) -> Sidecar:
        folder = tmp_path / f"{name}-files"
        for file, pixels in maps.items():
            path = (folder / file).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        return import_maps(folder, data.root, tmp_path / name, kind=kind, **options).sidecar

    return write
