"""MAE's grid-wise ablation."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.grid import GridParams, GridWise
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "grid"), np.arange(4000), 0))


def visible_of(offset: Literal["fixed", "random"], grid: tuple[int, int] = (14, 14)) -> Tensor:
    masking = GridWise(GridParams(offset=offset), grid)
    return ~masking.plan(MaskRequest(KEYS)).hidden.view(-1, *grid)


@pytest.mark.parametrize("offset", ["fixed", "random"])
def test_one_visible_in_every_cell_and_none_adjacent(offset: Literal["fixed", "random"]) -> None:
    visible = visible_of(offset, (6, 14))
    assert (visible.view(-1, 3, 2, 7, 2).sum((2, 4)) == 1).all()
    assert not (visible[:, 1:] & visible[:, :-1]).any()
    assert not (visible[:, :, 1:] & visible[:, :, :-1]).any()


def test_random_offset_gives_four_masks_equally_often() -> None:
    masks, counts = visible_of("random").unique(dim=0, return_counts=True)
    assert len(masks) == 4
    assert (counts / len(KEYS) - 0.25).abs().max() < 0.03


def test_fixed_offset_keeps_the_upper_left_patch() -> None:
    visible = visible_of("fixed")
    assert visible[:, ::2, ::2].all()
    assert visible.sum() == 49 * len(KEYS)


@pytest.mark.parametrize("ratio", [0.5, 0.74, 0.9])
def test_another_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(ParamsError, match=r"one patch in four: ratio must be 0\.75") as error:
        GridWise(GridParams(ratio=ratio), (14, 14))
    assert error.value.field == "ratio"


@pytest.mark.parametrize("grid", [(7, 7), (14, 7), (7, 14)], ids=str)
def test_an_odd_grid_is_refused(grid: tuple[int, int]) -> None:
    with pytest.raises(ParamsError, match="even number of rows and of columns") as error:
        GridWise(GridParams(), grid)
    assert error.value.field == "name"


def test_keys_on_their_device_decide_the_offset() -> None:
    twice = torch.cat([KEYS[:8], KEYS[:8]])
    hidden = GridWise(GridParams(), (4, 4)).plan(MaskRequest(twice)).hidden
    assert torch.equal(hidden[:8], hidden[8:])
