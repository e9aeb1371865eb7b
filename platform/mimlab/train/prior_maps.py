"""The maps that a masking follows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mimlab.data.manifest import DataSet
from mimlab.data.map_views import NO_MAP, MapView, map_views
from mimlab.data.reader import ColumnSource, images_of, read_rows
from mimlab.data.sidecar import Sidecar
from mimlab.data.views import center_views
from mimlab.errors import UserError
from mimlab.spec.study import PRIOR
from mimlab_objectives.masking.plan import Masking


def followed_maps(
    masking: Masking, sidecars: Mapping[str, str], data: DataSet, patch_size: int
) -> MapView | None:
    """What the masking asks for of a study's sidecars; None where it follows no map."""
    if "prior_map" not in masking.requires or PRIOR not in sidecars:
        return None
    return opened_maps(sidecars[PRIOR], data, patch_size)


def opened_maps(place: str, data: DataSet, patch_size: int) -> MapView:
    """A sidecar as maps to follow.

    Raises UserError where it is missing, was made for other images, or holds labels.
    """
    sidecar = Sidecar.open(place, data)
    if sidecar.kind != "map":
        raise UserError(f"{place}: holds labels, not values; import it with `--kind map`")
    (view,) = map_views({PRIOR: sidecar}, patch_size)
    return view


def fixed_maps(
    view: MapView, data: DataSet, split_name: str, image_size: int, count: int
) -> Float[Tensor, "batch tokens"]:
    """Those of the images that `fixed_images` gives, under the same view.

    NaN where an image has no map, or a damaged one.
    """
    split = data.split(split_name)
    sizes = ColumnSource(images_of(split).root, ("id", "width", "height"))
    rows = np.arange(min(count, split.num_rows))
    table = read_rows(split, rows, [sizes, view.source])
    full = [table[name].to_numpy().astype(np.int64) for name in ("width", "height")]
    boxes = center_views(widths=full[0], heights=full[1]).boxes
    maps = np.full((len(rows), *view.shape(image_size)), NO_MAP, np.float32)
    encoded = table[view.source.named("map")].to_pylist()
    for out, one, box, size in zip(maps, encoded, boxes, zip(*full, strict=True), strict=True):
        try:
            out[:] = view.render(
                one or b"", box, full=(int(size[0]), int(size[1])), flip=False, size=image_size
            )
        except ValueError:
            continue
    return torch.from_numpy(maps)
