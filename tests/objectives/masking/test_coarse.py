"""SimMIM's cells."""

import numpy as np
import pytest
import torch

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.coarse import Coarse, CoarseParams
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.uniform import Random, RandomParams
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "coarse"), np.arange(10_000), 0))


def test_simmim_hides_30_of_49_cells_as_a_whole() -> None:
    masking = Coarse(CoarseParams(), (14, 14))
    hidden = masking.plan(MaskRequest(KEYS)).hidden.view(-1, 7, 2, 7, 2)
    assert masking.num_hidden == 120
    assert (hidden == hidden[:, :, :1, :, :1]).all()
    cells = hidden[:, :, 0, :, 0].flatten(1)
    assert (cells.sum(1) == 30).all()
    assert (cells.float().mean(0) - 30 / 49).abs().max() < 0.02


def test_cells_of_a_wide_grid_are_not_transposed() -> None:
    hidden = Coarse(CoarseParams(cell=3), (6, 12)).plan(MaskRequest(KEYS[:100])).hidden
    cells = hidden.view(-1, 2, 3, 4, 3)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert (cells[:, :, 0, :, 0].flatten(1).sum(1) == 5).all()


def test_cells_of_one_patch_are_random_masking() -> None:
    request = MaskRequest(KEYS[:100])
    coarse = Coarse(CoarseParams(cell=1, ratio=0.7), (5, 9))
    random = Random(RandomParams(ratio=0.7), (5, 9))
    assert coarse.num_hidden == random.num_hidden
    assert torch.equal(coarse.plan(request).hidden, random.plan(request).hidden)


@pytest.mark.parametrize("grid", [(7, 7), (14, 13), (1, 8)], ids=str)
def test_a_grid_that_cells_do_not_tile_is_refused(grid: tuple[int, int]) -> None:
    with pytest.raises(ParamsError, match=r"2×2 patches do not tile .* must divide") as error:
        Coarse(CoarseParams(), grid)
    assert error.value.field == "cell"


def test_a_ratio_that_hides_every_cell_is_refused() -> None:
    """97 % of 196 patches would leave five; of 49 cells it leaves one, 98 % none."""
    assert Coarse(CoarseParams(ratio=0.97), (14, 14)).num_hidden == 192
    with pytest.raises(ParamsError, match=r"all 49 cells of 2×2 patches: at most 0\.9795") as error:
        Coarse(CoarseParams(ratio=0.98), (14, 14))
    assert error.value.field == "ratio"


def test_one_cell_cannot_be_masked() -> None:
    with pytest.raises(ParamsError, match="only one of the cells"):
        Coarse(CoarseParams(cell=14), (14, 14))
