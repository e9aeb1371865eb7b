"""What enters a data set is 8-bit RGB or grey, upright, and decodes completely."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mimlab.data.checking import Rejected, check_image

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(0, 192, 4), np.arange(0, 128, 4)) * 2)[:3]
SMOOTH = SMOOTH.transpose(1, 2, 0).astype(np.uint8)  # (32, 48, 3)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png_16_bit(pixels: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB, which Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_plain_jpeg_and_png_keep_their_bytes(mode: str, kind: str) -> None:
    data = saved(Image.fromarray(PIXELS).convert(mode), kind)
    assert check_image(data) == (data, 12, 10, "")


def test_progressive_jpeg_keeps_its_bytes() -> None:
    data = saved(Image.fromarray(PIXELS), "JPEG", progressive=True)
    assert check_image(data).data is data


@pytest.mark.parametrize("progressive", [False, True])
@given(keep=st.floats(0.0, 0.999))
@settings(max_examples=40, deadline=None)
def test_a_jpeg_cut_anywhere_is_rejected(progressive: bool, keep: float) -> None:
    data = saved(Image.fromarray(PIXELS), "JPEG", progressive=progressive)
    with pytest.raises(Rejected):
        check_image(data[: int(len(data) * keep)])


def test_a_truncated_jpeg_is_called_so() -> None:
    data = saved(Image.fromarray(PIXELS), "JPEG")
    with pytest.raises(Rejected, match="truncated JPEG"):
        check_image(data[:-20])


@given(keep=st.floats(0.0, 0.95))
@settings(max_examples=40, deadline=None)
def test_a_png_cut_in_its_pixels_is_rejected(keep: float) -> None:
    data = saved(Image.fromarray(PIXELS))
    with pytest.raises(Rejected):
        check_image(data[: int(len(data) * keep)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"<html>404 not found</html>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"\xff\xd8\xff", "damaged JPEG header"),
    ],
)
def test_what_is_no_image_is_rejected_with_its_reason(data: bytes | None, reason: str) -> None:
    with pytest.raises(Rejected, match=f"^{reason}$"):
        check_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@given(where=st.floats(0, 0.999), value=st.integers(1, 255))
@settings(max_examples=25, deadline=None)
def test_a_damaged_byte_never_raises_anything_but_rejected(
    kind: str, where: float, value: int
) -> None:
    data = bytearray(saved(Image.fromarray(PIXELS), kind))
    data[int(len(data) * where)] ^= value
    try:
        checked = check_image(bytes(data))
    except Rejected:
        return
    assert check_image(checked.data) == (checked.data, checked.width, checked.height, "")


def test_cmyk_jpeg_becomes_rgb_png_of_the_same_colours() -> None:
    source = Image.fromarray(SMOOTH).convert("CMYK")
    checked = check_image(saved(source, "JPEG", quality=95))
    result = opened(checked.data)
    assert (result.format, result.mode, checked.conversion) == ("PNG", "RGB", "CMYK")
    assert np.abs(np.asarray(result).astype(int) - SMOOTH).mean() < 3


def test_16_bit_grey_keeps_its_high_byte() -> None:
    values = np.arange(0, 65536, 256 * 8 + 3, dtype=np.uint16).reshape(4, 8)
    checked = check_image(saved(Image.fromarray(values)))
    assert checked.conversion == "16-bit"
    np.testing.assert_array_equal(np.asarray(opened(checked.data)), values >> 8)


def test_16_bit_rgb_is_found_out_although_pillow_hides_it() -> None:
    checked = check_image(png_16_bit(PIXELS.astype(np.uint16) * 257))
    assert checked.conversion == "16-bit"
    np.testing.assert_array_equal(np.asarray(opened(checked.data)), PIXELS)


def test_palette_becomes_the_colours_that_it_names() -> None:
    palette = Image.fromarray(PIXELS).quantize(16)
    checked = check_image(saved(palette))
    assert checked.conversion == "palette"
    np.testing.assert_array_equal(
        np.asarray(opened(checked.data)), np.asarray(palette.convert("RGB"))
    )


def test_alpha_is_laid_over_white() -> None:
    alpha = np.zeros((10, 12, 1), np.uint8)
    alpha[:, 6:] = 255
    checked = check_image(saved(Image.fromarray(np.concatenate([PIXELS, alpha], axis=2))))
    result = np.asarray(opened(checked.data))
    assert checked.conversion == "alpha"
    assert (result[:, :6] == 255).all()
    np.testing.assert_array_equal(result[:, 6:], PIXELS[:, 6:])


def test_a_transparent_colour_is_laid_over_white() -> None:
    pixels = PIXELS.copy()
    pixels[0, 0] = (1, 2, 3)
    checked = check_image(saved(Image.fromarray(pixels), transparency=(1, 2, 3)))
    assert checked.conversion == "alpha"
    assert np.asarray(opened(checked.data))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_other_formats_become_png(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(Image.fromarray(PIXELS), kind, **options)
    checked = check_image(data)
    assert kind in checked.conversion
    assert opened(checked.data).format == "PNG"
    np.testing.assert_array_equal(
        np.asarray(opened(checked.data)), np.asarray(opened(data).convert("RGB"))
    )


def test_black_and_white_becomes_grey() -> None:
    image = Image.fromarray(PIXELS).convert("1")
    checked = check_image(saved(image))
    assert checked.conversion == "1-bit"
    np.testing.assert_array_equal(np.asarray(opened(checked.data)), np.asarray(image.convert("L")))


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.fromarray(np.full((4, 5, 3), grey, np.uint8)) for grey in (0, 128, 255)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    checked = check_image(data)
    assert "first of several frames" in checked.conversion
    assert (np.asarray(opened(checked.data)) == 0).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    png = check_image(saved(Image.fromarray(SMOOTH), exif=exif))
    jpeg = check_image(saved(Image.fromarray(SMOOTH), "JPEG", quality=95, exif=exif))
    undo = {
        2: SMOOTH[:, ::-1],
        3: SMOOTH[::-1, ::-1],
        4: SMOOTH[::-1],
        5: SMOOTH.transpose(1, 0, 2),
        6: np.rot90(SMOOTH, -1),
        7: np.rot90(SMOOTH, 2).transpose(1, 0, 2),
        8: np.rot90(SMOOTH),
    }
    upright = undo[orientation].astype(int)
    assert png.conversion == jpeg.conversion == "orientation"
    assert (jpeg.height, jpeg.width) == upright.shape[:2]
    np.testing.assert_array_equal(np.asarray(opened(png.data)), upright)
    assert np.abs(np.asarray(opened(jpeg.data)) - upright).mean() < 3
    assert opened(jpeg.data).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("exif", [b"", b"garbage", b"II*\0\xff\xff\xff\xff"])
def test_damaged_metadata_is_no_reason_to_reject(exif: bytes) -> None:
    data = saved(Image.fromarray(PIXELS), "JPEG", exif=b"Exif\0\0" + exif)
    assert check_image(data).data is data


def test_an_upright_image_with_metadata_keeps_its_bytes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    data = saved(Image.fromarray(PIXELS), "JPEG", exif=exif)
    assert check_image(data).data is data


def test_a_header_that_promises_too_many_pixels_is_not_decoded() -> None:
    data = bytearray(saved(Image.fromarray(PIXELS)))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(Rejected, match="too many pixels"):
        check_image(bytes(data))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_numbers_that_are_no_colours_are_rejected(dtype: type) -> None:
    values = np.full((4, 4), 1e6, dtype)
    with pytest.raises(Rejected, match="pixels of"):
        check_image(saved(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("1", "BMP"),
    ],
)
def test_every_conversion_is_final(mode: str, kind: str) -> None:
    once = check_image(saved(Image.fromarray(PIXELS).convert(mode), kind))
    assert once.conversion
    assert check_image(once.data) == (*once[:3], "")
