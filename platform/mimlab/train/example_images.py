"""Some images to look at: of a data set, or of a folder of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mimlab.data.builtin import resolve_images
from mimlab.data.checking import Rejected, check_image
from mimlab.data.manifest import MANIFEST, DataSet
from mimlab.data.sources_folder import list_files
from mimlab.data.views import center_views, render
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place
from mimlab.train.fixed_images import fixed_images


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
        name = data.manifest.splits[0].name
        return fixed_images(data, name, image_size, count)[0]
    if place.is_file():
        raise UserError(f"{images}: is a file; expected a data set or a folder of image files")
    found = _of_folder(place, image_size, count)
    if not len(found):
        raise UserError(f"{images}: holds no image that can be read, and no {MANIFEST}")
    return torch.from_numpy(found)


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
