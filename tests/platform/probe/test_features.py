"""Features are those of the centre view, of labelled images that can be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.models import VisionTransformer

from mimlab.data.manifest import Split, SplitEntry
from mimlab.data.shards import table_of, write_shard
from mimlab.probe.features import encoder_of, extract, raw_pixels
from mimlab.probe.images import chosen_rows
from mimlab.train.pixels import normalise

SIZE, COUNT = 16, 300  # more than one chunk of 256
UNREADABLE, UNLABELLED = {3, 260}, {5, 255, 299}
GOOD = [i for i in range(COUNT) if i not in UNREADABLE | UNLABELLED]


def shape(index: int) -> tuple[int, int]:
    """(width, height): square, wide and tall ones, all with a centre square of 16 px."""
    return ((16, 16), (20, 16), (16, 22))[index % 3]


def picture(index: int) -> np.ndarray:
    width, height = shape(index)
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


def centre(index: int) -> np.ndarray:
    pixels = picture(index)
    top, left = (pixels.shape[0] - SIZE) // 2, (pixels.shape[1] - SIZE) // 2
    return pixels[top : top + SIZE, left : left + SIZE]


def encoded(index: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(index)).save(out, "PNG")
    return b"no image" if index in UNREADABLE else out.getvalue()


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    folder: Path = tmp_path_factory.mktemp("split")
    rows = table_of(
        [encoded(i) for i in range(COUNT)],
        [None if i in UNLABELLED else i % 7 for i in range(COUNT)],
        [shape(i) for i in range(COUNT)],
    )
    shard, _ = write_shard(folder / "test.parquet", rows, first_id=0)
    return Split(folder, SplitEntry(name="test", rows=COUNT, fingerprint="", shards=[shard]), 0)


def extracted(split: Split, encodes, max_rows: int | None = None, threads: int = 2):
    return extract(
        split,
        encodes,
        image_size=SIZE,
        max_rows=max_rows,
        device=torch.device("cpu"),
        threads=threads,
    )


def test_features_are_those_of_the_centre_views(split: Split) -> None:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=SIZE, patch_size=4, embed_dim=24, depth=1, num_heads=2, num_classes=0
    ).eval()
    features, labels, ids = extracted(
        split, {"mean": encoder_of(model, "mean"), "raw": raw_pixels()}
    )
    assert ids.tolist() == GOOD
    assert labels.tolist() == [i % 7 for i in GOOD]
    views = normalise(torch.from_numpy(np.stack([centre(i) for i in GOOD])))
    assert torch.equal(features["raw"], views.flatten(1))
    with torch.no_grad():
        expected = model.forward_features(views)[:, 1:].mean(1)
    assert torch.allclose(features["mean"], expected, atol=1e-5)


def test_images_without_a_label_and_broken_ones_are_left_out(split: Split) -> None:
    features, labels, _ = extracted(split, {"raw": raw_pixels()})
    assert len(labels) == len(features["raw"]) == COUNT - 5
    assert labels.min() >= 0


def test_threads_change_nothing(split: Split) -> None:
    one, _, _ = extracted(split, {"raw": raw_pixels()}, max_rows=40, threads=1)
    three, _, _ = extracted(split, {"raw": raw_pixels()}, max_rows=40, threads=3)
    assert torch.equal(one["raw"], three["raw"])


def test_a_limit_takes_the_chosen_rows_in_their_order(split: Split) -> None:
    _, labels, ids = extracted(split, {"raw": raw_pixels()}, max_rows=50)
    chosen = chosen_rows(split, 50)
    assert ids.tolist() == [i for i in chosen if i in set(GOOD)]
    assert labels.tolist() == [i % 7 for i in chosen if i in set(GOOD)]


def split_of(rows: int) -> Split:
    return Split(Path(), SplitEntry(name="train", rows=rows, fingerprint="", shards=[]), 0)


@given(rows=st.integers(1, 400), max_rows=st.integers(1, 500))
def test_rows_are_chosen_once_and_for_all(rows: int, max_rows: int) -> None:
    chosen = chosen_rows(split_of(rows), max_rows)
    assert len(chosen) == min(rows, max_rows)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0 and chosen[-1] < rows
    assert (chosen == chosen_rows(split_of(rows), max_rows)).all()
    fewer = chosen_rows(split_of(rows), max(1, max_rows // 2))
    assert set(fewer) <= set(chosen)


def test_all_rows_without_a_limit() -> None:
    assert chosen_rows(split_of(7), None).tolist() == list(range(7))


def test_chosen_rows_lie_all_over_the_split() -> None:
    chosen = chosen_rows(split_of(10_000), 1000)
    counts, _ = np.histogram(chosen, bins=10, range=(0, 10_000))
    assert (abs(counts - 100) < 50).all()  # five deviations of 9.5
