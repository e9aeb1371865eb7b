from __future__ import annotations

import io
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from mimlab.data.augment import AugmentConfig
from mimlab.data.views import Views, center_views, decode, random_views, render, render_each
from mimlab_objectives.keys import key_of, sample_keys, uniform_numpy

AUGMENT = AugmentConfig()


def views(
    count: int, *, width: int = 500, height: int = 375, seed: int = 0, epoch: int = 0, flip=0.5
) -> Views:
    column = np.ones(count, np.int64)
    return random_views(
        seed,
        np.arange(count),
        epoch * column,
        widths=width * column,
        heights=height * column,
        augment=AugmentConfig(flip=flip),
    )


def reference(seed: int, sample: tuple[int, int, int, int], augment: AugmentConfig):
    """One sample at a time, after torchvision's text."""
    name, epoch, width, height = sample
    key = sample_keys(key_of(seed, "view"), np.array([name]), np.array([epoch]))
    draws = uniform_numpy(key, 23)[0].tolist()
    low, high = (math.log(ratio) for ratio in augment.crop_ratio)
    scale = augment.crop_scale
    for attempt in range(10):
        area = width * height * (scale[0] + (scale[1] - scale[0]) * draws[attempt])
        ratio = math.exp(low + (high - low) * draws[10 + attempt])
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draws[20] * (width - w + 1)), int(draws[21] * (height - h + 1))
            return [left, top, w, h], draws[22] < augment.flip
    w, h = width, height
    if width / height < augment.crop_ratio[0]:
        h = round(width / augment.crop_ratio[0])
    elif width / height > augment.crop_ratio[1]:
        w = round(height * augment.crop_ratio[1])
    return [(width - w) // 2, (height - h) // 2, w, h], draws[22] < augment.flip


@given(
    seed=st.integers(0, 2**40),
    samples=st.lists(
        st.tuples(
            st.integers(0, 10**9), st.integers(0, 1000), st.integers(1, 3000), st.integers(1, 3000)
        ),
        min_size=1,
        max_size=20,
    ),
    scale=st.sampled_from([(0.2, 1.0), (0.08, 1.0), (1.0, 1.0), (0.9, 1.0)]),
)
@settings(max_examples=60, deadline=None)
def test_a_batch_of_boxes_is_the_scalar_text_sample_by_sample(seed, samples, scale):
    augment = AugmentConfig(crop_scale=scale)
    ids, epochs, widths, heights = np.array(samples, np.int64).T.copy()
    boxes, flips = random_views(seed, ids, epochs, widths=widths, heights=heights, augment=augment)
    expected = [reference(seed, sample, augment) for sample in samples]
    assert boxes.tolist() == [box for box, _ in expected]
    assert flips.tolist() == [flip for _, flip in expected]
    assert (boxes >= [0, 0, 1, 1]).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= np.stack([widths, heights], 1)).all()


@pytest.mark.parametrize(("width", "height"), [(500, 375), (160, 480)])
def test_crops_are_distributed_as_torchvisions(width, height):
    boxes, _ = views(8000, width=width, height=height)
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    params = [RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(8000)]
    theirs = np.array([(left, top, w, h) for top, left, h, w in params])
    for of in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2] / b[:, 3], *map(_column, range(4))):
        assert float(np.array(ks_2samp(of(boxes), of(theirs)))[1]) > 1e-3  # the p-value


def _column(index: int):
    return lambda boxes: boxes[:, index]


def test_views_differ_by_epoch_seed_and_sample_and_by_nothing_else():
    boxes = views(100).boxes
    assert (boxes != views(100, epoch=1).boxes).any(axis=1).mean() > 0.95
    assert (boxes != views(100, seed=1).boxes).any(axis=1).mean() > 0.95
    assert len(np.unique(boxes, axis=0)) > 95
    assert (boxes[:7] == views(7).boxes).all()


@pytest.mark.parametrize("flip", [0.0, 0.3, 1.0])
def test_the_share_of_mirrored_views_is_as_asked(flip):
    assert views(10_000, flip=flip).flips.mean() == pytest.approx(flip, abs=0.02)


def test_mirroring_is_independent_of_the_crop():
    boxes, flips = views(10_000)
    for column in range(4):
        assert abs(np.corrcoef(flips, boxes[:, column])[0, 1]) < 0.04


def test_a_centered_view_is_the_largest_square_in_the_middle():
    boxes, flips = center_views(widths=np.array([7, 4, 5]), heights=np.array([4, 9, 5]))
    assert boxes.tolist() == [[1, 0, 4, 4], [0, 2, 4, 4], [0, 0, 5, 5]]
    assert not flips.any()


# Pixels


def encode(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def rendered(data: bytes, box: list[int], *, size: int, flip: bool = False) -> np.ndarray:
    out = np.zeros((size, size, 3), np.uint8)
    render(data, np.array(box, np.int32), flip=flip, out=out)
    return out


def noise(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height: int = 40, width: int = 60) -> np.ndarray:
    return cv2.GaussianBlur(noise(height, width), (0, 0), 4)


def test_a_crop_of_the_asked_size_is_the_pixels_themselves():
    pixels = noise()
    found = rendered(encode(pixels), [5, 3, 32, 32], size=32)
    assert (found == pixels[3:35, 5:37]).all()


def test_a_mirrored_view_is_the_view_mirrored():
    data = encode(smooth(), "JPEG")
    plain, mirrored = (rendered(data, [2, 1, 50, 37], size=24, flip=flip) for flip in (False, True))
    assert (mirrored == plain[:, ::-1]).all()
    assert (mirrored != plain).any()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_images_have_three_equal_channels(kind):
    grey = smooth()[:, :, 0]
    found = rendered(encode(grey, kind), [0, 0, 32, 32], size=32)
    assert (found == found[:, :, :1]).all()
    assert np.abs(found[:, :, 0].astype(int) - grey[:32, :32]).max() <= (0 if kind == "PNG" else 12)


def test_colours_come_as_red_green_blue():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    for data in (encode(red), encode(red, "JPEG"), encode(red, "JPEG", subsampling=0)):
        assert np.abs(decode(data).astype(int) - red).max() < 5


def test_cmyk_jpegs_are_read():
    out = io.BytesIO()
    Image.fromarray(smooth()).convert("CMYK").save(out, "JPEG", quality=95)
    assert np.abs(decode(out.getvalue()).astype(int) - smooth()).mean() < 5


def test_orientation_tags_are_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "JPEG"):
        assert decode(encode(smooth(), kind, exif=exif)).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_memory_of_others_is_read_without_copies(kind):
    data = encode(smooth(), kind)
    assert (decode(memoryview(b"x" + data + b"x")[1:-1]) == decode(data)).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"no image",
        b"\xff\xd8\xff" + bytes(100),
        encode(noise(), "JPEG")[:1500],
        encode(noise())[:1000],
    ],
    ids=["empty", "start", "text", "zeros", "half a jpeg", "half a png"],
)
def test_a_damaged_image_is_an_error_and_not_a_grey_one(data):
    with pytest.raises(ValueError, match=r"\w"):
        rendered(data, [0, 0, 8, 8], size=8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_box_outside_the_image_is_an_error(kind):
    with pytest.raises(ValueError, match="leaves its 60 × 40 pixels"):
        rendered(encode(noise(), kind), [30, 0, 31, 31], size=8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_views_that_share_a_decoding_are_those_rendered_alone(kind):
    """Boxes of all sizes, so that a JPEG is decoded at every scale."""
    data = encode(smooth(300, 400), kind)
    rng = np.random.default_rng(0)
    sides = rng.integers(10, 300, (12, 2))
    boxes = np.concatenate([rng.integers(0, [100, 1], (12, 2)), sides], 1).astype(np.int32)
    flips = rng.random(12) < 0.5
    out = np.zeros((12, 16, 16, 3), np.uint8)
    render_each(data, Views(boxes, flips), out)
    alone = [
        rendered(data, box.tolist(), size=16, flip=bool(flip))
        for box, flip in zip(boxes, flips, strict=True)
    ]
    np.testing.assert_array_equal(out, np.stack(alone))


@pytest.mark.parametrize("size", [96, 224])
def test_pixels_are_near_pillows_antialiased_bicubic_crop(size, test_data):
    """The bar is 35 dB (median) and 30 dB (tenth percentile)."""
    psnr = []
    for index, path in enumerate(sorted(test_data.glob("imagenet-sample/*/*.JPEG"))):
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        sides = [np.array([side], np.int64) for side in image.size]
        ids = np.array([index])
        view = random_views(0, ids, ids, widths=sides[0], heights=sides[1], augment=AUGMENT)
        left, top, width, height = box = view.boxes[0].tolist()
        area = (left, top, left + width, top + height)
        theirs = image.crop(area).resize((size, size), Image.Resampling.BICUBIC)
        error = rendered(data, box, size=size).astype(float) - np.asarray(theirs)
        psnr.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert len(psnr) == 200
    assert np.median(psnr) >= 35
    assert np.quantile(psnr, 0.1) >= 30
