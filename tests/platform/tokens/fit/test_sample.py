"""Patches to learn from: exactly as many as asked for, spread over all images, by keys alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mimlab.tokens.sample import PatchSample

FIRST_ID = 17


@st.composite
def samples(draw) -> PatchSample:
    images, tokens = draw(st.integers(1, 60)), draw(st.integers(1, 30))
    wanted = draw(st.integers(1, 2 * images * tokens))
    return PatchSample.of(draw(st.integers(0, 9)), images=images, tokens=tokens, wanted=wanted)


@given(samples())
def test_as_many_as_asked_for_or_all_that_there_are(sample):
    rows = np.arange(sample.images)
    chosen = sample.chosen(rows, rows + FIRST_ID)
    counts = chosen.sum(axis=1)
    assert counts.sum() == sample.points <= sample.images * sample.tokens
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(counts, sample.counts(rows))


@given(samples(), st.integers(0, 60))
def test_an_image_s_patches_do_not_depend_on_its_company(sample, cut):
    rows = np.arange(sample.images)
    whole = sample.chosen(rows, rows + FIRST_ID)
    parts = [sample.chosen(part, part + FIRST_ID) for part in (rows[:cut], rows[cut:])]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_every_place_is_as_likely_as_any_other():
    sample = PatchSample.of(3, images=20_000, tokens=16, wanted=80_000)
    rows = np.arange(sample.images)
    share = sample.chosen(rows, rows).mean(axis=0)
    deviation = np.sqrt(0.25 * 0.75 / sample.images)
    assert np.abs(share - 0.25).max() < 4 * deviation


def test_another_seed_is_another_sample_of_the_same_size():
    rows = np.arange(50)
    one, other = (
        PatchSample.of(seed, images=50, tokens=9, wanted=111).chosen(rows, rows) for seed in (0, 1)
    )
    assert one.sum() == other.sum() == 111
    assert (one != other).any()
