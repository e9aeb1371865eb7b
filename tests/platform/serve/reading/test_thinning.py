"""A thinned curve keeps its ends and its extremes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mimlab.serve.reading.thinning import kept_points

CURVES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400).map(np.array)


@given(CURVES, st.integers(4, 60))
def test_ends_and_extremes_stay_in_order_and_in_number(values: np.ndarray, most: int) -> None:
    kept = kept_points(values, most)
    assert len(kept) <= max(most, 1)
    assert kept[0] == 0 and kept[-1] == len(values) - 1
    assert (np.diff(kept) > 0).all()
    assert values[kept].min() == values.min()
    assert values[kept].max() == values.max()


def test_a_curve_that_is_short_enough_stays_whole() -> None:
    assert kept_points(np.arange(60.0), 60).tolist() == list(range(60))


def test_one_spike_among_ten_thousand_points_stays() -> None:
    values = np.zeros(10_000)
    values[7_321] = 5.0
    assert 7_321 in kept_points(values, 100)
