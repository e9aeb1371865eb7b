"""Ranking with random ties, repair, and the indices of a plan."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.select import highest, plan_of_hidden, repair, select

KEYS = torch.from_numpy(sample_keys(key_of(0, "select"), np.arange(10_000), 0))
SCORES = st.lists(
    st.floats(width=32, allow_nan=False, allow_subnormal=False), min_size=2, max_size=30
)


@settings(max_examples=60)
@given(SCORES, st.data())
def test_nothing_kept_scores_above_what_is_hidden(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values) - 1))
    score = torch.tensor([values])
    hidden = highest(score, count, KEYS[:1])
    assert hidden.sum() == count
    assert score[hidden].min() >= score[~hidden].max()


def test_distinct_scores_leave_nothing_to_the_key() -> None:
    score = torch.randn(100, 36, generator=torch.Generator().manual_seed(0))
    plan = select(score, 20, KEYS[:100], (6, 6))
    rank = score.argsort(1, descending=True).argsort(1)
    assert torch.equal(plan.hidden[:, 0], rank < 20)
    assert torch.equal(plan.hidden, select(score, 20, KEYS[100:200], (6, 6)).hidden)


@pytest.mark.parametrize("score", [0.0, -3.5, 1e30, float("-inf")])
def test_equal_scores_hide_each_position_equally_often(score: float) -> None:
    hidden = highest(torch.full((10_000, 20), score), 5, KEYS)
    assert (hidden.float().mean(0) - 0.25).abs().max() < 0.02


def test_ties_are_broken_among_the_tied_only() -> None:
    """Levels of two, as an attention map or an integer prior has them."""
    score = torch.tensor([1.0] * 4 + [0.0] * 8 + [-1.0] * 4).expand(10_000, 16)
    often = highest(score, 8, KEYS).float().mean(0)
    assert (often[:4] == 1).all()
    assert (often[4:12] - 0.5).abs().max() < 0.03
    assert (often[12:] == 0).all()


def test_the_two_zeros_are_equal() -> None:
    often = highest(torch.tensor([0.0, -0.0] * 4).expand(10_000, 8), 4, KEYS).float().mean(0)
    assert (often - 0.5).abs().max() < 0.03


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(0, 9_999), st.data())
def test_repair_moves_as_few_as_possible(
    cells: list[bool], image: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(cells)))
    before = torch.tensor([cells])
    after, moved = repair(before, count, KEYS[image : image + 1])
    assert after.sum() == count
    assert moved.tolist() == [abs(sum(cells) - count)]
    if sum(cells) >= count:
        assert not (after & ~before).any()
    else:
        assert not (before & ~after).any()


@pytest.mark.parametrize(("count", "often_hidden", "often_visible"), [(4, 0.5, 0.0), (11, 1, 0.25)])
def test_repair_takes_a_uniform_subset(
    count: int, often_hidden: float, often_visible: float
) -> None:
    before = (torch.arange(20) < 8).expand(10_000, 20)
    often = repair(before, count, KEYS)[0].float().mean(0)
    assert (often[:8] - often_hidden).abs().max() < 0.03
    assert (often[8:] - often_visible).abs().max() < 0.03


def test_the_indices_of_a_small_plan() -> None:
    hidden = torch.tensor([[True, False, False, True, False, True]])
    plan = plan_of_hidden(hidden, (2, 3), torch.arange(len(hidden)), num_hidden=3)
    assert plan.kept_ids is not None
    assert plan.restore_ids is not None
    assert plan.kept_ids.tolist() == [[[1, 2, 4]]]
    assert plan.restore_ids.tolist() == [[[3, 0, 1, 4, 2, 5]]]
    assert plan.weight.tolist() == [[[1, 0, 0, 1, 0, 1]]]
    assert plan.repaired.tolist() == [[0]]


def test_counts_that_differ_give_no_indices() -> None:
    hidden = torch.tensor([[True, False], [True, True]])
    plan = plan_of_hidden(hidden, (1, 2), torch.arange(len(hidden)), num_hidden=None)
    assert plan.kept_ids is None
    assert plan.restore_ids is None
    assert plan.ratio_realised == 0.75
