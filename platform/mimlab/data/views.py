"""Views: which box of an image is read, mirrored or not, and its pixels.

Geometry is a pure function of (seed, sample id, epoch), drawn for a whole batch at once. The pixels
are a pure function of (encoded image, box, flip, size): tokenizer, training and boards all call
`render`, so that they see the same ones.
"""

from __future__ import annotations

import math
from importlib import metadata
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Bool, Float, Int32, Int64, Shaped, UInt8

from mimlab.data.augment import AugmentConfig
from mimlab_objectives.keys import key_of, sample_keys, uniform_numpy

TRIES = 10
"""As torchvision's `RandomResizedCrop.get_params`, whose distribution this follows."""

JPEG_MAGIC = b"\xff\xd8"
AREA_FROM = 1.5
"""Shrinking by less is interpolated: as near to Pillow as INTER_AREA (40.8 dB), and faster."""
SCALED_DECODE_MARGIN = 1.5
"""A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves this many pixels for each one asked for:
38.9 dB (median) on ImageNet photographs at 96 px, where a margin of 1 gives 33.7."""

RENDERER_VERSION = 1
"""Counts changes of the pixels that `render` gives."""

Boxes = Int32[np.ndarray, "batch 4"]
Column = Int64[np.ndarray, " batch"]


class Views(NamedTuple):
    """The geometry of a batch."""

    boxes: Boxes
    """left, top, width, height in pixels of the stored image."""
    flips: Bool[np.ndarray, " batch"]
    """True where left and right are exchanged, after the crop."""


class UnreadableImage(Exception):
    """An image that cannot be decoded, with the sample's id."""

    def __init__(self, sample_id: int, reason: str) -> None:
        super().__init__(f"image {sample_id} cannot be read: {reason}")
        self.sample_id, self.reason = sample_id, reason


def random_views(
    seed: int,
    ids: Column,
    epochs: Column,
    *,
    widths: Column,
    heights: Column,
    augment: AugmentConfig,
) -> Views:
    """Random resized crop and flip, keyed by (seed, sample id, epoch).

    As torchvision (`RandomResizedCrop.get_params`): ten tries of an area and a ratio, each uniform
    (the ratio in its logarithm); the first that fits is placed uniformly; else the largest centred
    crop of an allowed ratio.
    """
    keys = sample_keys(key_of(seed, "view"), ids, epochs)
    draws = uniform_numpy(keys, 2 * TRIES + 3)
    sizes = _tried_sizes(draws[:, : 2 * TRIES], widths * heights, augment)
    limits = np.stack([widths, heights], axis=-1)
    fits = np.all((sizes > 0) & (sizes <= limits[:, None]), axis=-1)  # (batch, tries)
    chosen = sizes[np.arange(len(ids)), fits.argmax(axis=1)]
    room = limits - chosen
    placed = np.floor(draws[:, -3:-1] * (room + 1)).astype(np.int64)
    fallback = _largest_of_ratio(widths, heights, augment.crop_ratio)
    boxes = np.where(
        np.any(fits, axis=1)[:, None],
        np.concatenate([placed, chosen], axis=1),
        np.concatenate([(limits - fallback) // 2, fallback], axis=1),
    )
    return Views(boxes.astype(np.int32), draws[:, -1] < augment.flip)


def renderer() -> str:
    """What renders here: versions of this code and of the libraries whose pixels it gives."""
    libraries = {"opencv": cv2.__version__, "simplejpeg": metadata.version("simplejpeg")}
    named = ", ".join(f"{name} {version}" for name, version in libraries.items())
    return f"render {RENDERER_VERSION}, {named}"


def center_views(*, widths: Column, heights: Column) -> Views:
    """The largest centred square, never mirrored: what probes and boards see."""
    side = np.minimum(widths, heights)
    boxes = np.stack([(widths - side) // 2, (heights - side) // 2, side, side], axis=1)
    return Views(boxes.astype(np.int32), np.zeros(len(side), np.bool_))


def render(
    encoded: bytes | memoryview,
    box: Int32[np.ndarray, " 4"],
    *,
    flip: bool,
    out: UInt8[np.ndarray, "size size 3"],
) -> None:
    """Write one view's RGB pixels into `out`; raises ValueError where the image cannot be decoded.

    Against Pillow's antialiased bicubic crop of the full image: 40.7 dB (median), 36 dB (tenth
    percentile) on ImageNet photographs at 224 px.
    """
    one = Views(box[None], np.array([flip]))
    render_each(encoded, one, out[None])


def render_each(
    encoded: bytes | memoryview, views: Views, out: UInt8[np.ndarray, "views size size 3"]
) -> None:
    """Several views of one image, decoded as seldom as their sizes allow; raises as `render`."""
    size = out.shape[1]
    decoded: dict[int, tuple[np.ndarray, tuple[int, int]]] = {}
    for box, flip, pixels in zip(views.boxes, views.flips, out, strict=True):
        shrink = math.floor(min(box[2:]) / (size * SCALED_DECODE_MARGIN))
        scale = _decoded_scale(shrink) if encoded[:2] == JPEG_MAGIC else 1
        if scale not in decoded:
            decoded[scale] = _decode(encoded, scale)
        image, full = decoded[scale]
        crop = cropped(image, box, full)
        cv2.resize(crop, (size, size), dst=pixels, interpolation=interpolation(crop, size))
        if flip:
            cv2.flip(pixels, 1, dst=pixels)


def cropped(
    pixels: Shaped[np.ndarray, "height width *channels"],
    box: Int32[np.ndarray, " 4"],
    full: tuple[int, int],
) -> Shaped[np.ndarray, "crop_height crop_width *channels"]:
    """The part of an image, or of what lies over it, at whatever scale, that a box says.

    `full` is the (width, height) that the box is meant in. Raises ValueError where it is too small.
    """
    left, top, width, height = box.tolist()
    if left + width > full[0] or top + height > full[1]:
        raise ValueError(f"its box {box.tolist()} leaves its {full[0]} × {full[1]} pixels")
    rows = _span(top, height, pixels.shape[0] / full[1])
    return pixels[rows, _span(left, width, pixels.shape[1] / full[0])]


def interpolation(crop: np.ndarray, size: int, grow: int = cv2.INTER_CUBIC) -> int:
    """How OpenCV is to bring a crop to `size` pixels; `grow`: where it is smaller."""
    shrink = max(crop.shape[:2]) / size
    if shrink <= 1:
        return grow
    return cv2.INTER_LINEAR if shrink < AREA_FROM else cv2.INTER_AREA


def decode(encoded: bytes | memoryview) -> UInt8[np.ndarray, "height width 3"]:
    """All pixels of a JPEG or PNG as RGB, grey copied to three channels, orientation tags ignored.

    Raises ValueError where the image is damaged, even if a part of it could be shown.
    """
    return _decode(encoded, 1)[0]


def _decoded_scale(shrink: int) -> int:
    """1, 2, 4 or 8, not above `shrink` but for 1.

    Only these: those between have no fast inverse transform in libjpeg-turbo.
    """
    return 8 if shrink >= 8 else 4 if shrink >= 4 else 2 if shrink >= 2 else 1


def _decode(encoded: bytes | memoryview, scale: int) -> tuple[np.ndarray, tuple[int, int]]:
    """RGB pixels, those of a JPEG at 1 / scale of the size; the full (width, height)."""
    if encoded[:2] == JPEG_MAGIC:
        *size, space, _ = simplejpeg.decode_jpeg_header(encoded)
        if space in ("Gray", "YCbCr", "RGB"):
            height, width = map(int, size)
            image = simplejpeg.decode_jpeg(
                encoded,
                "RGB",
                fastdct=True,
                fastupsample=True,
                min_height=-(-height // scale),
                min_width=-(-width // scale),
            )
            return image, (width, height)
    image = _decode_any(encoded)
    return image, (image.shape[1], image.shape[0])


def _decode_any(encoded: bytes | memoryview) -> np.ndarray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if image is None:
        raise ValueError("neither a JPEG nor a PNG, or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _span(start: int, length: int, scale: float) -> slice:
    return slice(round(start * scale), round((start + length) * scale))


def _tried_sizes(
    draws: Float[np.ndarray, "batch draws"], areas: Column, augment: AugmentConfig
) -> Int64[np.ndarray, "batch tries 2"]:
    """Width and height of every try, rounded half to even as Python's `round`."""
    low, high = augment.crop_scale
    area = areas[:, None] * (low + (high - low) * draws[:, :TRIES])
    narrow, wide = (math.log(ratio) for ratio in augment.crop_ratio)
    ratio = np.exp(narrow + (wide - narrow) * draws[:, TRIES:])
    sizes = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=-1)
    return np.rint(sizes).astype(np.int64)


def _largest_of_ratio(
    widths: Column, heights: Column, ratios: tuple[float, float]
) -> Int64[np.ndarray, "batch 2"]:
    """Width and height of the largest crop whose ratio is allowed."""
    narrow, wide = ratios
    width = np.minimum(widths, np.rint(heights * wide))
    height = np.minimum(heights, np.rint(widths / narrow))
    return np.maximum(np.stack([width, height], axis=1), 1).astype(np.int64)
