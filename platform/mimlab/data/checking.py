"""What an image must be to enter a data set, and how those that are nearly so are made so.

Kept byte for byte: JPEG and PNG that are RGB or grey with 8 bits and upright. Any other image that
Pillow reads is decoded once, here, so that every later reader needs to know only those: to PNG,
which keeps its pixels, but to JPEG where only a JPEG's orientation had to be applied.
"""

from __future__ import annotations

import functools
import io
import warnings
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What Pillow may open; others (PostScript, video, scientific formats) are no pictures to us."""

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".avif", ".jp2"}
)

MAX_PIXELS = 178_956_970
"""Pillow's limit of a decompression bomb (2 × `Image.MAX_IMAGE_PIXELS`): half a GB decoded."""

ROTATED_JPEG_QUALITY = 95

_JPEG_START = b"\xff\xd8\xff"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an EXIF orientation (Exif 2.32, tag 0x0112)."""


class Rejected(Exception):
    """An image that cannot be read; the message is the reason, short and free of names."""


class Checked(NamedTuple):
    """An image as it enters the data set."""

    data: bytes
    width: int
    height: int
    conversion: str
    """Why it was re-encoded, e.g. `palette + alpha`; empty where the bytes are the source's."""


def check_image(data: bytes | None) -> Checked:
    """Decode an image completely and bring it into the form that data sets hold.

    Colour profiles are not applied; transparency is laid over white; of several frames the first is
    taken; 16 bits become their high 8. Raises Rejected.
    """
    if not data:
        raise Rejected("empty")
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, which is dropped, and of images within our limit.
        warnings.simplefilter("ignore")
        try:
            return _check_jpeg(data) if data.startswith(_JPEG_START) else _check_other(data)
        except Rejected:
            raise
        except Exception as error:  # on damaged bytes decoders raise nearly anything
            raise Rejected("damaged image") from error


def _check_jpeg(data: bytes) -> Checked:
    try:
        size = simplejpeg.decode_jpeg_header(data)
        height, width, colours = int(size[0]), int(size[1]), size[2]
        _refuse_bomb(width, height)
        if colours in ("CMYK", "YCCK"):
            return _encode(_load(data), ["CMYK"])
        space = "GRAY" if colours == "Gray" else "RGB"
        simplejpeg.decode_jpeg(data, space, fastdct=True, fastupsample=True)
    except ValueError as error:
        raise Rejected(_jpeg_reason(str(error))) from error
    if b"Exif\0\0" in data and _orientation(_open(data)) != 1:
        return _encode(_load(data), [], "JPEG")
    return Checked(data, width, height, "")


def _jpeg_reason(message: str) -> str:
    if "Premature end" in message:
        return "truncated JPEG"
    return "damaged JPEG header" if "Header" in message else "damaged JPEG data"


def _check_other(data: bytes) -> Checked:
    image = _load(data)
    reasons = _reasons(image, data)
    if reasons or _orientation(image) != 1:
        return _encode(image, reasons)
    return Checked(data, image.width, image.height, "")


def _reasons(image: Image.Image, data: bytes) -> list[str]:
    """Why these bytes cannot stay as they are; orientation is told apart from them."""
    png = image.format == "PNG"
    # The bit depth in a PNG's header: Pillow shows RGB of 16 bits as if it had 8.
    depth = data[24] if png else 16 if image.mode.startswith("I") else 8
    found = {
        str(image.format): not png,
        "first of several frames": getattr(image, "n_frames", 1) > 1,
        "palette": image.mode in ("P", "PA"),
        f"{depth}-bit": depth != 8 and image.mode != "P",
        "alpha": image.has_transparency_data,
        image.mode: image.mode in ("CMYK", "YCbCr", "LAB", "HSV"),
    }
    return [reason for reason, holds in found.items() if holds]


def _encode(image: Image.Image, reasons: list[str], kind: str = "PNG") -> Checked:
    orientation = _orientation(image)
    if orientation != 1:
        reasons = [*reasons, "orientation"]
    fresh = _upright(image, orientation)
    out = io.BytesIO()
    if kind == "JPEG":
        fresh.save(out, kind, quality=ROTATED_JPEG_QUALITY, subsampling=0)
    else:
        fresh.save(out, kind)
    return Checked(out.getvalue(), fresh.width, fresh.height, " + ".join(reasons))


def upright_image(data: bytes) -> Image.Image:
    """The pixels that `check_image` keeps, of bytes that it has accepted: RGB or grey, upright."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _load(data)
        return _upright(image, _orientation(image))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    plain = _plain(image)
    if orientation != 1:
        plain = plain.transpose(_UPRIGHT[orientation])
    # A new image carries none of the old one's metadata.
    return Image.fromarray(np.asarray(plain))


def _plain(image: Image.Image) -> Image.Image:
    """RGB or grey with 8 bits."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise Rejected("pixels of 32 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise Rejected("pixels of floating point")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        below = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(below, above).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) where it says nothing sensible."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # metadata may be damaged in any way; the pixels are good without it
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _load(data: bytes) -> Image.Image:
    image = _open(data)
    _refuse_bomb(image.width, image.height)
    try:
        image.load()
    except (OSError, SyntaxError) as error:
        how = "truncated" if "truncated" in str(error) else "damaged"
        raise Rejected(f"{how} {image.format}") from error
    return image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow was built with; it refuses to be asked for others."""
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise Rejected("not an image") from error
    except Image.DecompressionBombError as error:
        raise Rejected("too many pixels") from error


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Rejected("too many pixels")
