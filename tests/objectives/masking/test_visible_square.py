"""The visible square of HPM's code."""

import numpy as np
import pytest
import torch

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.visible_square import VisibleSquare, VisibleSquareParams
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "square"), np.arange(4000), 0))


@pytest.mark.parametrize(("faithful", "places"), [(True, 7), (False, 8)])
def test_a_square_of_7_lies_at_each_place_equally_often(faithful: bool, places: int) -> None:
    masking = VisibleSquare(VisibleSquareParams(faithful=faithful), (14, 14))
    visible = ~masking.plan(MaskRequest(KEYS)).hidden.view(-1, 14, 14)
    rows, columns = visible.any(2), visible.any(1)
    assert (rows.sum(1) == 7).all() and (columns.sum(1) == 7).all()
    assert torch.equal(visible, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):
        first = line.int().argmax(1)
        assert torch.equal(line, (torch.arange(14) - first[:, None]).div(7).floor() == 0)
        often = torch.bincount(first, minlength=14) / len(KEYS)
        assert (often[:places] - 1 / places).abs().max() < 0.03
        assert not often[places:].any()


def test_the_centre_is_seen_most() -> None:
    masking = VisibleSquare(VisibleSquareParams(), (14, 14))
    often = (~masking.plan(MaskRequest(KEYS)).hidden).float().mean((0, 1)).view(14, 14)
    assert often[6:8, 6:8].min() > 0.7
    assert often[[0, 0, 13, 13], [0, 13, 0, 13]].max() < 0.05


@pytest.mark.parametrize("grid", [(8, 8), (9, 13), (3, 3), (20, 4)], ids=str)
def test_the_ratios_that_a_refusal_names_are_legal(grid: tuple[int, int]) -> None:
    with pytest.raises(ParamsError, match="form no square") as error:
        VisibleSquare(VisibleSquareParams(ratio=2 / (grid[0] * grid[1])), grid)
    assert error.value.field == "ratio"
    named = str(error.value).partition("grid; ")[2].removesuffix(" would").split(" or ")
    for ratio in named:
        masking = VisibleSquare(VisibleSquareParams(ratio=float(ratio)), grid)
        assert (masking.plan(MaskRequest(KEYS[:9])).hidden.sum(2) == masking.num_hidden).all()


def test_official_corners_that_the_border_would_cut_are_refused() -> None:
    """10×10 of 14×14 patches: corners from 0 to 6 do not fit."""
    ratio = VisibleSquareParams(ratio=0.4897)
    assert VisibleSquare(ratio, (14, 14)).side == 10
    with pytest.raises(ParamsError, match="cut a square of 10×10") as error:
        VisibleSquare(ratio.model_copy(update={"faithful": True}), (14, 14))
    assert error.value.field == "faithful"
