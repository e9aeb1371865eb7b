"""The images of the boards: the first ones of a split, seen as probes see them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from mimlab.data.manifest import DataSet
from mimlab.data.reader import read_rows
from mimlab.data.views import center_views, render


def fixed_images(
    data: DataSet, split_name: str, image_size: int, count: int
) -> tuple[UInt8[Tensor, "batch size size 3"], Int[Tensor, " batch"]]:
    """Pixels and ids of the first `count` images; one that cannot be decoded stays black."""
    split = data.split(split_name)
    table = read_rows(split, np.arange(min(count, split.num_rows)))
    boxes = center_views(
        widths=table["width"].to_numpy().astype(np.int64),
        heights=table["height"].to_numpy().astype(np.int64),
    ).boxes
    pixels = np.zeros((table.num_rows, image_size, image_size, 3), np.uint8)
    for image, box, out in zip(table["image"], boxes, pixels, strict=True):
        try:
            render(memoryview(image.as_buffer()), box, flip=False, out=out)
        except ValueError:
            continue
    return torch.from_numpy(pixels), torch.from_numpy(table["id"].to_numpy().copy())
