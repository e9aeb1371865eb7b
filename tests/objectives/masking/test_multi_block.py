"""I-JEPA's blocks: sizes of a step, disjoint contexts, equal counts in a batch."""

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.multi_block import MultiBlock, MultiBlockParams
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "multi block"), np.arange(20_000), 0))
FIXED = MultiBlock(MultiBlockParams(), (14, 14))
FAITHFUL = MultiBlock(MultiBlockParams(faithful=True), (14, 14))


def plans_of(masking: MultiBlock, batch: int, steps: int) -> list[MaskPlan]:
    return [
        masking.plan(MaskRequest(KEYS[batch * step : batch * (step + 1)], step_key=key_of(step)))
        for step in range(steps)
    ]


@pytest.fixture(scope="module", params=[FIXED, FAITHFUL], ids=["fixed", "faithful"])
def plans(request: pytest.FixtureRequest) -> list[MaskPlan]:
    return plans_of(request.param, 32, 40)


def groups_of(plan: MaskPlan) -> Tensor:
    """Target blocks as maps: (images, blocks, 14, 14)."""
    assert plan.groups is not None
    maps = torch.zeros(*plan.groups.shape[:2], 196, dtype=torch.bool)
    return maps.scatter(2, plan.groups, True).unflatten(2, (14, 14))


def test_the_four_targets_of_a_step_have_one_of_five_sizes(plans: list[MaskPlan]) -> None:
    seen = set()
    for plan in plans:
        maps = groups_of(plan)
        assert maps.shape[1] == 4
        rows, columns = maps.any(3), maps.any(2)
        assert torch.equal(maps, rows[..., :, None] & columns[..., None, :])
        sizes = torch.stack([rows.sum(2), columns.sum(2)], 2).flatten(0, 1).unique(dim=0)
        assert len(sizes) == 1
        seen.add(tuple(sizes[0].tolist()))
    assert seen <= {(5, 6), (6, 5), (6, 6), (7, 5), (8, 5)}
    assert len(seen) >= 4


def test_contexts_and_targets_are_disjoint(plans: list[MaskPlan]) -> None:
    for plan in plans:
        assert not (plan.predicted & ~plan.hidden).any()
        assert (plan.hidden & ~plan.predicted).any()  # some patches are neither


def test_faithful_never_uses_the_last_row_and_column_but_fixed_does() -> None:
    for masking, reaches in ((FAITHFUL, False), (FIXED, True)):
        used = torch.zeros(14, 14, dtype=torch.bool)
        for plan in plans_of(masking, 64, 20):
            used |= (~plan.hidden | plan.predicted).any(0).view(14, 14)
        assert used[:13, :13].all()
        assert bool(used[13].all() and used[:, 13].all()) == reaches
        assert bool(used[13].any() or used[:, 13].any()) == reaches


@pytest.mark.parametrize(("batch", "kept"), [(32, 56), (128, 51), (512, 45)])
def test_a_larger_batch_keeps_less(batch: int, kept: int) -> None:
    plans = plans_of(FAITHFUL, batch, 20_000 // batch if batch > 300 else 40)
    counts = [int((~plan.hidden).sum(2)[0, 0]) for plan in plans]
    assert abs(np.mean(counts) - kept) < 3


def test_before_truncation_82_patches_are_left() -> None:
    means = [
        float((~plan.hidden).sum(2).float().mean() + plan.repaired.float().mean())
        for plan in plans_of(FAITHFUL, 64, 60)
    ]
    assert abs(np.mean(means) - 82) < 3


def test_faithful_truncation_starves_the_lower_rows() -> None:
    def by_row(masking: MultiBlock) -> Tensor:
        kept = torch.cat([~plan.hidden for plan in plans_of(masking, 512, 12)])
        shares = kept.view(-1, 14, 14).float().mean((0, 2))
        return shares / shares.sum()

    faithful, fixed = by_row(FAITHFUL), by_row(FIXED)
    assert faithful[0] > 0.2
    assert faithful[12] < 0.01
    assert fixed.min() > 0.03


def test_a_context_that_targets_nearly_cover_comes_back_by_dropping_targets() -> None:
    params = MultiBlockParams(
        num_targets=8,
        target_scale=(0.6, 0.7),
        target_aspect=(1, 1),
        context_scale=(0.5, 0.5),
        least_kept=30,
    )
    plan = MultiBlock(params, (14, 14)).plan(MaskRequest(KEYS[:100], step_key=1))
    assert int((~plan.hidden).sum(2).min()) > 30
    assert (plan.predicted & ~plan.hidden).any()


def test_two_images_of_one_step_differ_in_place_but_not_in_size() -> None:
    for step in range(5):
        plan = FIXED.plan(MaskRequest(KEYS[:2], step_key=key_of(step)))
        assert plan.groups is not None
        assert not torch.equal(plan.groups[0], plan.groups[1])
        first, second = groups_of(plan)
        for one, other in itertools.product(first, second):
            assert one.any(1).sum() == other.any(1).sum()


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"target_scale": (0.2, 0.1)}, "target_scale"),
        ({"context_scale": (0.5, 1.5)}, "context_scale"),
        ({"target_aspect": (0.0, 1.0)}, "target_aspect"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(
    params: dict[str, tuple[float, float]], field: str
) -> None:
    with pytest.raises(ValidationError, match="needs 0 < least ≤ largest") as error:
        MultiBlockParams.model_validate(params)
    refusal = error.value.errors()[0].get("ctx", {})["error"]
    assert refusal.field == field


def test_a_grid_without_room_for_a_context_is_refused() -> None:
    """On 4×4 patches a context has 3×3 of them, which is not more than the 10 that must stay."""
    with pytest.raises(ParamsError, match="context of 3×3 patches never keeps more") as error:
        MultiBlock(MultiBlockParams(), (4, 4))
    assert error.value.field == "least_kept"
    assert MultiBlock(MultiBlockParams(least_kept=1), (4, 4)).num_hidden < 16
    with pytest.raises(ParamsError, match="two rows and columns"):
        MultiBlock(MultiBlockParams(), (1, 12))
