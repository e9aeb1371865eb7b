"""Images made smaller at import."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from typer.testing import CliRunner

from mimlab.cli.data import app
from mimlab.data.checking import Checked, check_image
from mimlab.data.importing import import_data
from mimlab.data.inspection import Inspection
from mimlab.data.shrinking import shrunk


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ramp(width: int, height: int) -> Image.Image:
    """Bright to the right, red to the bottom: no two corners alike."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([y, x, np.zeros_like(x)], axis=-1).astype(np.uint8))


def small(data: bytes, short_side: int) -> Checked:
    return shrunk(check_image(data), data, short_side)


def pixels(image: Checked) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB")).astype(float)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_the_short_side_is_met_and_the_proportions_are_kept(width, height, short_side):
    data = encoded(ramp(width, height))
    found = small(data, short_side)
    stored = Image.open(io.BytesIO(found.data))
    assert stored.size == (found.width, found.height)
    if min(width, height) <= short_side:
        assert (found.data, found.conversion) == (data, "")
    else:
        assert min(stored.size) == short_side
        assert abs(found.width - width * short_side / min(width, height)) <= 0.5
        assert abs(found.height - height * short_side / min(width, height)) <= 0.5
        assert (stored.format, found.conversion) == ("JPEG", f"short side {short_side}")


def test_the_picture_stays_what_it_was():
    found = small(encoded(ramp(400, 300)), 60)
    assert np.abs(pixels(found) - np.asarray(ramp(80, 60)).astype(float)).max() < 6


def test_fine_stripes_become_grey_and_not_other_stripes():
    """Stripes of 1 pixel, shrunk by 5.5: aliasing would make wider ones of them."""
    stripes = np.tile(np.array([0, 255], np.uint8), (220, 110))
    found = pixels(small(encoded(Image.fromarray(stripes)), 40))
    assert np.abs(found[5:-5, 5:-5] - 127.5).max() < 10


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_before_the_size_is_taken(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(ramp(120, 60), "JPEG", quality=95, exif=exif)
    found = small(data, 30)
    large = pixels(check_image(data))
    assert (found.width, found.height) == ((30, 60) if orientation >= 5 else (60, 30))
    corners = np.array([[0, 0, -1, -1], [0, -1, 0, -1]])
    assert np.abs(pixels(found)[tuple(corners)] - large[tuple(corners)]).max() < 16


@pytest.mark.parametrize(
    ("mode", "kind", "reason"),
    [("CMYK", "JPEG", "CMYK + "), ("RGBA", "PNG", "alpha + "), ("RGB", "WEBP", "WEBP + ")],
)
def test_other_forms_are_converted_as_ever_and_say_both(mode: str, kind: str, reason: str) -> None:
    found = small(encoded(ramp(80, 60).convert(mode), kind), 30)
    assert found.conversion == f"{reason}short side 30"
    assert np.abs(pixels(found) - np.asarray(ramp(40, 30)).astype(float)).max() < 16


def test_sixteen_bits_become_their_high_eight_and_grey_stays_grey() -> None:
    deep = np.tile(np.linspace(0, 65535, 80).astype(np.uint16), (60, 1))
    found = small(encoded(Image.fromarray(deep)), 30)
    assert found.conversion == "16-bit + short side 30"
    assert Image.open(io.BytesIO(found.data)).mode == "L"
    assert np.abs(pixels(found)[0, :, 0] - np.linspace(0, 255, 40)).max() < 6


def test_a_strip_too_long_for_jpeg_becomes_png() -> None:
    found = small(encoded(Image.new("L", (70_000, 2))), 1)
    assert (found.width, found.height) == (35_000, 1)
    found = small(encoded(Image.new("L", (70_000 * 11 // 10, 11))), 10)
    assert (found.width, Image.open(io.BytesIO(found.data)).format) == (70_000, "PNG")


def test_an_import_says_what_it_did(ray_local: None, tmp_path: Path, read_rows: Callable) -> None:
    (tmp_path / "in").mkdir()
    tiny = encoded(ramp(20, 16))
    (tmp_path / "in" / "tiny.png").write_bytes(tiny)
    (tmp_path / "in" / "wide.png").write_bytes(encoded(ramp(64, 48)))
    (tmp_path / "in" / "high.jpg").write_bytes(encoded(ramp(24, 96), "JPEG"))
    command = ["import", str(tmp_path / "in"), "--to", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--short-side", "16", "--json"])
    assert result.exit_code == 0, result.output
    found = Inspection.model_validate_json(result.stdout)
    assert found.short_side == 16
    assert found.converted == {"short side 16": 2}
    rows = read_rows(tmp_path / "out", "train")
    sizes = sorted(zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True))
    assert sizes == [(16, 64), (20, 16), (21, 16)]
    assert tiny in rows["image"].to_pylist()
    whole = import_data(tmp_path / "in", tmp_path / "whole")
    assert (whole.manifest.short_side, whole.manifest.converted) == (None, {})
    assert whole.fingerprint != found.fingerprint
