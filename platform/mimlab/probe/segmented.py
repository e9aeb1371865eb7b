"""Images with a class for each pixel, batch by batch, in bounded memory.

Those without a pixel of any class, and those that cannot be decoded, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import Split
from mimlab.data.map_pixels import NO_CLASS
from mimlab.data.map_views import MapView
from mimlab.data.reader import iter_rows
from mimlab.data.rendering import Canvas, Samples, ViewSpec, parts_of, render_views
from mimlab.data.views import center_views
from mimlab.train.pixels import normalise

CHUNK = 64
"""Images decoded at once."""
IMAGES_PER_PART = 8

SegmentedBatch = tuple[Float[Tensor, "_ 3 height width"], UInt8[Tensor, "_ height width"]]


@dataclass(frozen=True)
class SegmentedImages:
    """What a probe of pixels reads of one split."""

    split: Split
    labels: MapView
    image_size: int
    device: torch.device
    threads: int

    def in_order(self) -> Iterator[SegmentedBatch]:
        """Centre views on the device, and the labels of their pixels, in the order of the split."""
        view = ViewSpec(self.image_size, AugmentConfig(), seed=0, maps=(self.labels,))
        rows = np.arange(self.split.num_rows)
        with ThreadPoolExecutor(self.threads) as decoders:
            for table in iter_rows(self.split, rows, CHUNK, view.sources(self.split)):
                columns = {name: table[name].chunk(0) for name in table.column_names}
                samples = Samples.of(columns | {"epoch": columns["id"]})
                out = Canvas.blank(table.num_rows, view)
                render = partial(_render_centred, samples, view, out)
                parts = decoders.map(render, parts_of(table.num_rows, IMAGES_PER_PART))
                failed = [index for part in parts for index in part]
                labels = out.maps[self.labels.name]
                good = (labels != NO_CLASS).any((1, 2))
                good[failed] = False
                if good.any():
                    pixels = torch.from_numpy(out.images[good]).to(self.device)
                    yield normalise(pixels), torch.from_numpy(labels[good])


def _render_centred(
    samples: Samples, view: ViewSpec, out: Canvas, indices: range
) -> dict[int, str]:
    part = slice(indices.start, indices.stop)
    geometry = center_views(widths=samples.widths[part], heights=samples.heights[part])
    return render_views(samples, indices, geometry, view, out)
