"""What is said, recomputed and drawn of a store."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from mimlab.cli.tokens_shown import histogram
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.tokens.inspection import Usage, inspect_tokens
from mimlab.tokens.sampling import samples
from mimlab.tokens.showing import code_picture
from mimlab.tokens.verifying import verify_tokens


def test_an_inspection_counts_every_code(data: DataSet, seen, tmp_path):
    store = seen().encode(data, tmp_path / "store", splits=["train", "test"])
    found = inspect_tokens(store.root, data, verify=True)
    codes = np.concatenate([v.reshape(-1) for rows in store.rows() for v in rows.views])
    assert found.usage is not None and found.rows == {"train": 30, "test": 7}
    assert found.usage.counts == np.bincount(codes, minlength=4096).tolist()
    assert sum(found.usage.counts) == 37 * 3 * 8
    assert found.usage.dead == 4096 - len(np.unique(codes))
    assert found.payload_bytes == 16 and found.stored_bytes > 16


def test_an_inspection_of_features_says_what_values_they_take(data, seen, tmp_path):
    store = seen("features").encode(data, tmp_path / "store")
    found = inspect_tokens(store.root)
    values = np.concatenate([v.reshape(-1) for rows in store.rows() for v in rows.views])
    values = values.astype(np.float64)
    assert found.usage is None and found.spread is not None
    assert found.spread.mean == pytest.approx(values.mean())
    assert found.spread.deviation == pytest.approx(values.std())
    assert found.spread.largest == pytest.approx(np.abs(values).max())


@pytest.mark.parametrize(
    ("counts", "perplexity", "dead"), [([5, 5, 5, 5], 4, 0), ([9, 0, 0], 1, 2), ([1, 1, 0], 2, 1)]
)
def test_the_perplexity_of_equal_shares_is_their_number(counts, perplexity, dead):
    usage = Usage(counts=counts)
    assert math.isclose(usage.perplexity, perplexity) and usage.dead == dead


def test_the_histogram_falls_and_shows_dead_codes_as_nothing():
    assert histogram([0, 8, 4, 1]) == "█▄▁ "
    assert len(histogram(list(range(1000)))) == 60


def test_a_store_is_what_its_encoder_gives_and_no_other(data, seen, tmp_path):
    made = seen()
    store = made.encode(data, tmp_path / "store")
    found = verify_tokens(store, made.encoder, data, count=20)
    assert (found.images, found.patches, found.different) == (20, 160, 0) and found.passed
    made.encoder.params = seen(offset=1).encoder.params
    other = verify_tokens(store, made.encoder, data, count=20)
    assert other.different == 160 and not other.passed


def test_stored_features_are_compared_up_to_rounding(data, seen, tmp_path):
    made = seen("features")
    store = made.encode(data, tmp_path / "store")
    assert verify_tokens(store, made.encoder, data, count=30).different == 0
    exact = made.encoder.encode
    made.encoder.encode = lambda images: exact(images) * 1.02
    assert verify_tokens(store, made.encoder, data, count=30).share == 1.0


def test_a_sample_is_spread_over_splits_and_views_and_repeats_itself(data, seen, tmp_path):
    store = seen().encode(data, tmp_path / "store", splits=["train", "test"])
    first, again, other = (
        np.concatenate([s.ids for s in samples(store, data, count=25, seed=seed)])
        for seed in (0, 0, 1)
    )
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(set(first.tolist())) == 25 and first.max() >= 30


def test_a_row_of_the_picture_holds_patches_of_one_code(data, seen, tmp_path):
    """Its colours are those of one code: within a level of each other."""
    store = seen().encode(data, tmp_path / "store")
    png = code_picture(store, data, codes=5, patches=3)
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    # A patch has 16 × 8 pixels, which are drawn four times as large.
    height, width, gap, mean_gap = 64, 32, 2, 8
    assert picture.shape == (5 * (height + gap), width + mean_gap + 3 * (width + gap), 3)
    full = 0
    for row in range(5):
        band = picture[row * (height + gap) :][:height].astype(float)
        cells = [band[:, width + mean_gap + n * (width + gap) :][:, :width] for n in range(3)]
        colours = [cell.mean((0, 1)) for cell in cells if cell.min() < 255]
        full += len(colours) > 1
        assert np.ptp(colours, axis=0).max() <= 255 / 15 + 1
    assert full


def test_features_have_no_codes_to_show(data, seen, tmp_path):
    store = seen("features").encode(data, tmp_path / "store")
    with pytest.raises(UserError, match="holds features, not codes"):
        code_picture(store, data)
