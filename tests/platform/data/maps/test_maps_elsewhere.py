"""Maps, data set and sidecar in a bucket: the same sidecar as on a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.map_pixels import decode_map
from mimlab.data.map_views import map_views
from mimlab.data.reader import images_of, read_rows
from mimlab.data.sidecar import Sidecar
from mimlab.errors import UserError
from mimlab.storage.remote_path import RemotePath, place_of


def uploaded(folder: Path, uri: str) -> str:
    place = place_of(uri)
    assert isinstance(place, RemotePath)
    for path in folder.rglob("*"):
        if path.is_file():
            (place / path.relative_to(folder).as_posix()).upload(path)
    return uri


def test_a_sidecar_in_a_bucket_is_the_one_on_the_disk(
    bucket, tmp_path: Path, named_data: Callable[..., DataSet]
) -> None:
    pixels = {f"{i:02d}.png": np.full((6, 8, 3), i, np.uint8) for i in range(20)}
    data = named_data(tmp_path / "data", {"train": pixels})
    (tmp_path / "maps").mkdir()
    for name, image in pixels.items():
        Image.fromarray(image[..., 0]).save(tmp_path / "maps" / name)
    here = import_maps(tmp_path / "maps", data.root, tmp_path / "sidecar", kind="map").sidecar
    data_uri = uploaded(tmp_path / "data", bucket.uri("data"))
    maps_uri = uploaded(tmp_path / "maps", bucket.uri("maps"))
    there = import_maps(maps_uri, data_uri, bucket.uri("sidecar"), kind="map").sidecar
    assert there.fingerprint == here.fingerprint
    assert there.manifest.maker.sha256 == here.manifest.maker.sha256
    remote = DataSet.open(data_uri)
    Sidecar.open(bucket.uri("sidecar"), remote, verify=True)
    (view,) = map_views({"prior": there}, patch_size=4)
    split = remote.split("train")
    rows = read_rows(split, np.array([13, 2]), [images_of(split), view.source])
    assert [decode_map(row)[0, 0] for row in rows["prior.map"].to_pylist()] == [13, 2]
    with pytest.raises(UserError, match=r"sidecar.*exists already"):
        import_maps(maps_uri, data_uri, bucket.uri("sidecar"), kind="map")
    with pytest.raises(UserError, match=r"nowhere.*: no such folder"):
        import_maps(bucket.uri("nowhere"), data_uri, bucket.uri("other"), kind="map")
