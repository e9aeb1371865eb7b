"""The rate of probes that train, in closed form."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab_objectives.probes.schedule import REPORTS, is_reported, warmup_cosine


def test_up_and_down() -> None:
    shares = [warmup_cosine(step, warmup_steps=4, total_steps=12) for step in range(13)]
    assert shares[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert shares[8] == pytest.approx(0.5)
    assert shares[6] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert shares[12] == pytest.approx(0)


@given(st.integers(1, 10_000))
def test_progress_is_told_evenly_and_at_the_end(total: int) -> None:
    told = [step for step in range(total) if is_reported(step, total)]
    assert len(told) == min(total, REPORTS)
    assert told[-1] == total - 1
