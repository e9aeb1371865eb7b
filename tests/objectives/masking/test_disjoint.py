"""Disjoint rounds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.disjoint import Disjoint, DisjointParams
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "disjoint"), np.arange(3000), 0))


def hidden_of(grid: tuple[int, int] = (14, 14), **params: object) -> torch.Tensor:
    return Disjoint(DisjointParams.model_validate(params), grid).plan(MaskRequest(KEYS)).hidden


def test_what_one_round_keeps_the_other_hides() -> None:
    """The paper's setting: 19 of 49 cells are kept by each round."""
    hidden = hidden_of()
    assert hidden.shape == (3000, 2, 196) and (hidden.sum(2) == 120).all()
    assert hidden.any(1).all()
    assert not (~hidden).all(1).any()
    cells = hidden.view(-1, 2, 7, 2, 7, 2)
    assert (cells == cells[:, :, :, :1, :, :1]).all()


@pytest.mark.parametrize("number", [0, 1])
def test_each_round_alone_is_random_masking(number: int) -> None:
    frequency = hidden_of(cell=1)[:, number].float().mean(0)
    assert (frequency - 118 / 196).abs().max() < 0.04


def test_what_was_hidden_before_is_hidden_again_at_random() -> None:
    """At 0.6 the second round adds 40 of the 60 hidden: chance, not place, chooses them."""
    hidden = hidden_of((10, 10), cell=1)
    again = (hidden[:, 0] & hidden[:, 1]).float().sum(0) / hidden[:, 0].float().sum(0)
    assert (again - 20 / 60).abs().max() < 0.06


@given(rounds=st.integers(2, 6), ratio=st.floats(0.05, 0.95), side=st.sampled_from([4, 6, 8]))
def test_no_patch_is_hidden_twice_more_than_another(rounds: int, ratio: float, side: int) -> None:
    params = DisjointParams(rounds=rounds, ratio=ratio, cell=1)
    try:
        masking = Disjoint(params, (side, side))
    except ParamsError:
        return
    times = masking.plan(MaskRequest(KEYS[:20])).hidden.sum(1)
    assert (times.amax(1) - times.amin(1) <= 1).all()


def test_cells_must_tile_the_grid() -> None:
    with pytest.raises(ParamsError, match="cell must divide 7"):
        Disjoint(DisjointParams(), (7, 7))
