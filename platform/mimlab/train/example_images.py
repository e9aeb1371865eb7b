"""Some images to look at, of a data set or of a folder of image files, and their maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mimlab.data.builtin import resolve_images
from mimlab.data.checking import Rejected, check_image
from mimlab.data.manifest import MANIFEST, DataSet
from mimlab.data.sources_folder import list_files
from mimlab.data.views import center_views, render
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place
from mimlab.train.fixed_images import fixed_images
from mimlab.train.prior_maps import fixed_maps, opened_maps


def example_images(
    images: str, image_size: int, count: int, *, cache: Path
) -> UInt8[Tensor, "batch size size 3"]:
    """Up to `count` images as probes see them: the largest centred square.

    `images` is a built-in name, a data set or a folder of image files, in which files that cannot
    be read are passed over. A built-in is made in `cache`. Raises UserError.
    """
    place = resolve_images(images, cache)
    if not place.exists():
        raise UserError(f"{images}: no such file or folder")
    if (place / MANIFEST).exists():
        data = DataSet.open(place)
        return fixed_images(data, _first_split(data), image_size, count)[0]
    if place.is_file():
        raise UserError(f"{images}: is a file; expected a data set or a folder of image files")
    found = _of_folder(place, image_size, count)
    if not len(found):
        raise UserError(f"{images}: holds no image that can be read, and no {MANIFEST}")
    return torch.from_numpy(found)


def example_maps(
    maps: str, images: str, image_size: int, patch_size: int, count: int, *, cache: Path
) -> Float[Tensor, "batch tokens"]:
    """What the sidecar `maps` holds of each patch of `example_images`, NaN where it has nothing.

    Raises UserError where `images` is no data set, or the sidecar holds no maps of it.
    """
    place = resolve_images(images, cache)
    if not (place / MANIFEST).exists():
        raise UserError(
            f"{images}: is no data set, so no maps lie beside its images; import them with "
            "`mimlab data import`, and the maps for them with `mimlab data maps`"
        )
    data = DataSet.open(place)
    view = opened_maps(maps, data, patch_size)
    return fixed_maps(view, data, _first_split(data), image_size, count)


def _first_split(data: DataSet) -> str:
    return data.manifest.splits[0].name


def _of_folder(
    folder: Place, image_size: int, count: int
) -> UInt8[np.ndarray, "batch size size 3"]:
    paths = sorted(path for path, _ in list_files(folder).images)
    pixels = np.zeros((min(count, len(paths)), image_size, image_size, 3), np.uint8)
    found = 0
    for path in paths:
        if found == len(pixels):
            break
        try:
            image = check_image((folder / path).read_bytes())
        except Rejected:
            continue
        box = center_views(widths=np.array([image.width]), heights=np.array([image.height])).boxes
        render(image.data, box[0], flip=False, out=pixels[found])
        found += 1
    return pixels[:found]
