"""The one rounding rule."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab_objectives.masking.plan import num_hidden
from mimlab_objectives.masking.ratio import checked_num_hidden
from mimlab_objectives.registry import ParamsError


@pytest.mark.parametrize(
    ("units", "ratio", "kept"),
    [
        (196, 0.5, 98),
        (196, 0.6, 78),
        (196, 0.65, 68),
        (196, 0.7, 58),
        (196, 0.75, 49),
        (196, 0.9, 19),
        (64, 0.6, 25),
        (49, 0.6, 19),
        (100, 0.9, 10),
        (400, 0.55, 180),
        (400, 0.8, 80),
        (400, 0.9, 40),
    ],
)
def test_table(units: int, ratio: float, kept: int) -> None:
    """MAE's kept counts, without the binary-float accident that keeps 9 of 100 at 0.9."""
    assert units - num_hidden(units, ratio) == kept


@given(st.integers(1, 100_000), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_it_is_the_exact_ceiling_of_the_written_ratio(units: int, ratio: float) -> None:
    assert num_hidden(units, ratio) == math.ceil(units * Fraction(repr(ratio)))


@given(st.integers(1, 2000), st.integers(1, 999))
def test_ratios_with_three_digits_round_as_on_paper(units: int, thousandths: int) -> None:
    assert num_hidden(units, thousandths / 1000) == -(-units * thousandths // 1000)


def test_a_ratio_that_keeps_nothing_is_refused_with_one_that_does() -> None:
    with pytest.raises(
        ParamsError, match=r"0\.999 hides all 196 patches: at most 0\.9948"
    ) as error:
        checked_num_hidden(0.999, 196, unit="patches")
    assert error.value.field == "ratio"
    assert checked_num_hidden(0.9948, 196, unit="patches") == 195


def test_one_patch_cannot_be_masked() -> None:
    with pytest.raises(ParamsError, match="only one of the patches"):
        checked_num_hidden(0.5, 1, unit="patches")
