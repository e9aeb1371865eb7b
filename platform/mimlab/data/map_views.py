"""Views of maps: under the box and the flip of their image, reduced to its patches.

Kept free of torch, because the processes that only read import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from mimlab.data.map_pixels import NO_CLASS, GreyPixels, decode_map
from mimlab.data.reader import ColumnSource
from mimlab.data.sidecar import Sidecar
from mimlab.data.views import cropped, interpolation

NO_MAP = np.nan
"""In the place of every value, where an image has no map."""


@dataclass(frozen=True)
class MapView:
    """What a sidecar of maps gives to each sample: its values by patch, or its labels by pixel."""

    source: ColumnSource
    labels: bool
    """True: the labels of the view's pixels. False: the map's mean over each patch."""
    patch_size: int

    @property
    def name(self) -> str:
        return self.source.sidecar

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        return np.uint8 if self.labels else np.float32

    def shape(self, size: int) -> tuple[int, ...]:
        """Of one sample, in a view of `size` pixels: (tokens,), or (size, size) of labels."""
        return (size, size) if self.labels else ((size // self.patch_size) ** 2,)

    def render(
        self,
        encoded: bytes | memoryview,
        box: Int32[np.ndarray, " 4"],
        *,
        full: tuple[int, int],
        flip: bool,
        size: int,
    ) -> UInt8[np.ndarray, "size size"] | Float32[np.ndarray, " tokens"]:
        """One view; `full` is the image's (width, height), no bytes stand for no map.

        Raises ValueError where the map is damaged.
        """
        if not len(encoded):
            return np.full(self.shape(size), NO_CLASS if self.labels else NO_MAP, self.dtype)
        pixels = decode_map(encoded)
        if self.labels:
            return labels_view(pixels, box, full=full, flip=flip, size=size)
        return patch_means(
            shares_view(pixels, box, full=full, flip=flip, size=size), self.patch_size
        )


def map_views(sidecars: Mapping[str, Sidecar], patch_size: int) -> tuple[MapView, ...]:
    """What sidecars, by their names in a study, give to each sample."""
    return tuple(
        MapView(sidecar.source(name), sidecar.kind == "labels_map", patch_size)
        for name, sidecar in sidecars.items()
    )


def labels_view(
    labels: UInt8[np.ndarray, "height width"],
    box: Int32[np.ndarray, " 4"],
    *,
    full: tuple[int, int],
    flip: bool,
    size: int,
) -> UInt8[np.ndarray, "size size"]:
    """The label under the centre of each pixel of a view."""
    nearest = cv2.INTER_NEAREST_EXACT
    crop = cropped(_as_large(labels, full, nearest), box, full)
    view = cv2.resize(crop, (size, size), interpolation=nearest)
    return cv2.flip(view, 1) if flip else view


def shares_view(
    pixels: GreyPixels,
    box: Int32[np.ndarray, " 4"],
    *,
    full: tuple[int, int],
    flip: bool,
    size: int,
) -> Float32[np.ndarray, "size size"]:
    """A map's values, from 0 to 1, at each pixel of a view."""
    shares = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    crop = cropped(_as_large(shares, full, cv2.INTER_LINEAR), box, full)
    # Bicubic, as pixels grow, would leave that range.
    how = interpolation(crop, size, grow=cv2.INTER_LINEAR)
    view = cv2.resize(crop, (size, size), interpolation=how)
    return cv2.flip(view, 1) if flip else view


def _as_large(pixels: np.ndarray, full: tuple[int, int], how: int) -> np.ndarray:
    """A map that is no smaller than its image: whole pixels of a coarse one are too coarse for the
    edges of a box."""
    if pixels.shape[1] >= full[0] and pixels.shape[0] >= full[1]:
        return pixels
    return cv2.resize(pixels, full, interpolation=how)


def patch_means(
    values: Float32[np.ndarray, "size size"], patch_size: int
) -> Float32[np.ndarray, " tokens"]:
    """The mean over each patch, rows of patches one after the other."""
    side = len(values) // patch_size
    return values.reshape(side, patch_size, side, patch_size).mean(axis=(1, 3)).reshape(-1)
