"""UM-MAE's uniform sampling and secondary masking."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.masking.uniform_cells import UniformCells, UniformCellsParams
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "uniform cells"), np.arange(4000), 0))


def plan_of(grid: tuple[int, int] = (14, 14), **params: bool | float) -> MaskPlan:
    masking = UniformCells(UniformCellsParams.model_validate(params), grid)
    return masking.plan(MaskRequest(KEYS))


def kept_of(plan: MaskPlan) -> Tensor:
    """What the encoder is given, covered or not: (images, tokens)."""
    assert plan.kept_ids is not None
    return torch.zeros_like(plan.hidden[:, 0]).scatter(1, plan.kept_ids[:, 0], True)


@pytest.mark.parametrize("faithful", [False, True])
def test_one_patch_of_every_cell_is_kept(faithful: bool) -> None:
    kept = kept_of(plan_of((6, 14), faithful=faithful)).view(-1, 3, 2, 7, 2)
    assert (kept.sum((2, 4)) == 1).all()


def test_13_of_the_49_are_covered_and_not_predicted() -> None:
    plan = plan_of()
    assert plan.kept_ids is not None and plan.kept_ids.shape[2] == 49
    assert plan.replaced is not None
    assert (plan.replaced.sum(2) == 13).all()
    assert (plan.hidden.sum(2) == 160).all()
    assert torch.equal(plan.predicted[:, 0], ~kept_of(plan))
    # any 13 of them, of any cell
    assert (plan.replaced[:, 0].float().mean(0) - 13 / 49).abs().max() < 0.03


@pytest.mark.parametrize("faithful", [False, True])
def test_each_place_of_each_cell_is_kept_equally_often(faithful: bool) -> None:
    often = kept_of(plan_of(faithful=faithful)).float().mean(0)
    assert (often - 0.25).abs().max() < 0.03


def test_places_are_balanced_in_an_image_only_where_faithful() -> None:
    """A pool of 25 of each of the four bounds every count, and halves the variance of a free draw:
    49 · 1/4 · 3/4 · (100 − 49) ÷ 99."""

    def counts(faithful: bool) -> Tensor:
        kept = kept_of(plan_of(faithful=faithful)).view(-1, 7, 2, 7, 2)
        return kept.sum((1, 3)).flatten(1).float()  # (images, places)

    pooled, free = counts(True), counts(False)
    assert pooled.max() <= 25
    assert abs(pooled.var() - 49 * 3 / 16 * 51 / 99) < 0.4
    assert abs(free.var() - 49 * 3 / 16) < 0.6


def test_without_secondary_masking_no_mask_token_is_needed() -> None:
    masking = UniformCells(UniformCellsParams(secondary=0), (14, 14))
    plan = masking.plan(MaskRequest(KEYS))
    assert not masking.replaces
    assert plan.replaced is None
    assert masking.num_hidden == 147
    assert torch.equal(plan.hidden, plan.predicted)


@pytest.mark.parametrize(
    ("params", "grid", "field"),
    [
        ({"ratio": 0.5}, (14, 14), "ratio"),
        ({}, (7, 14), "name"),
        ({"secondary": 0.99}, (14, 14), "secondary"),
    ],
)
def test_what_cannot_be_is_refused(
    params: dict[str, float], grid: tuple[int, int], field: str
) -> None:
    with pytest.raises(ParamsError) as error:
        UniformCells(UniformCellsParams.model_validate(params), grid)
    assert error.value.field == field
