"""The pixels of maps: as people keep them in files, and as sidecars keep them in PNG."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from mimlab.errors import UserError

NO_CLASS = 255
"""Label of pixels that belong to no class, as in Pascal VOC's and most others' label maps."""
SUFFIXES = (".png", ".npy")

_PNG_DEPTH = 24
"""Byte of a PNG's header that says its bit depth."""
_SPREAD = {2: 85, 4: 17}

GreyPixels = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]


def read_map(data: bytes, suffix: str, kind: Literal["map", "labels_map"]) -> GreyPixels:
    """The pixels of a PNG or .npy file, as sidecars hold them.

    A map has 8 or 16 bits for values from 0 to 1; floating-point values are rounded to 16 bits.
    Labels have 8 bits; a palette's numbers are taken for them. Raises UserError, without the name.
    """
    values = _from_npy(data) if suffix == ".npy" else _from_png(data, palette=kind == "labels_map")
    if values.ndim != 2 or not values.size:
        raise UserError(f"has shape {values.shape}; expected (height, width)")
    return _as_labels(values) if kind == "labels_map" else _as_shares(values)


def encode_map(pixels: GreyPixels) -> bytes:
    """A grey PNG."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"OpenCV could not encode a map of shape {pixels.shape}")
    return data.tobytes()


def decode_map(encoded: bytes | memoryview) -> GreyPixels:
    """The pixels of `encode_map`. Raises ValueError where they are damaged."""
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2:
        raise ValueError("damaged map")
    return pixels


def map_digest(sample_id: int, encoded: bytes | None) -> bytes:
    """sha256(id as int64 LE, bytes of a value, height, width as int32 LE, values LE); zeros and no
    values where there is no map."""
    if encoded is None:
        return hashlib.sha256(struct.pack("<qiii", sample_id, 0, 0, 0)).digest()
    return pixels_digest(sample_id, decode_map(encoded))


def pixels_digest(sample_id: int, pixels: GreyPixels) -> bytes:
    """The same of pixels that are not encoded yet."""
    head = struct.pack("<qiii", sample_id, pixels.itemsize, *pixels.shape)
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return hashlib.sha256(head + little.tobytes()).digest()


def _from_npy(data: bytes) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError("cannot be read as .npy; save it with numpy.save") from error
    if values.dtype.kind not in "uifb":
        raise UserError(f"holds {values.dtype}; expected numbers")
    return values


def _from_png(data: bytes, *, palette: bool) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=["PNG"])
            image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError("cannot be read as PNG; write it again") from error
    grey = image.mode in ("1", "L") or image.mode.startswith("I")
    if not (grey or (palette and image.mode == "P")):
        raise UserError(f"has colours ({image.mode}); expected one grey level a pixel")
    values = np.asarray(image)
    if image.mode.startswith("I"):
        return values.astype(np.uint16)
    # Pillow spreads grey levels of 2 and 4 bits over 0 to 255; labels are meant as they are.
    return values // _SPREAD.get(data[_PNG_DEPTH], 1) if palette and grey else values


def _as_labels(values: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    if values.dtype.kind == "f":
        raise UserError(f"holds {values.dtype}; labels are whole numbers")
    if values.min() < 0 or values.max() > NO_CLASS:
        raise UserError(
            f"has labels from {values.min()} to {values.max()}; expected 0 to {NO_CLASS - 1}, and "
            f"{NO_CLASS} for pixels of no class"
        )
    return values.astype(np.uint8)


def _as_shares(values: np.ndarray) -> GreyPixels:
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.itemsize <= 2:
        return values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind != "f":
        raise UserError(
            f"holds {values.dtype}; expected uint8, uint16, or floating-point numbers from 0 to 1"
        )
    # Not a number fails both comparisons.
    if not (values.min() >= 0 and values.max() <= 1):
        raise UserError(f"has values from {values.min():g} to {values.max():g}; expected 0 to 1")
    return np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
