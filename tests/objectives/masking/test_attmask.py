"""Hiding by a teacher's attention."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys, uniform
from mimlab_objectives.masking.attmask import AttMask, AttMaskParams
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest

KEYS = torch.from_numpy(sample_keys(key_of(0, "attmask"), np.arange(500), 0))
ATTENTION = uniform(KEYS, 196, 7)


def plan_of(attention: Tensor = ATTENTION, step: int = 0, **params: object) -> MaskPlan:
    masking = AttMask(AttMaskParams.model_validate(params), (14, 14))
    keys = KEYS[: len(attention)]
    request = MaskRequest(keys, step_key=step, signals={"teacher_attention": attention})
    return masking.plan(request)


@pytest.mark.parametrize(("hide", "sign"), [("high", 1), ("low", -1)])
def test_every_hidden_patch_is_more_extreme_than_every_kept_one(hide: str, sign: int) -> None:
    hidden = plan_of(hide=hide, ratio=0.3, probability=1).hidden[:, 0]
    score = sign * ATTENTION
    lowest = score.masked_fill(~hidden, torch.inf).amin(1)
    assert (hidden.sum(1) == 59).all()
    assert (lowest >= score.masked_fill(hidden, -torch.inf).amax(1)).all()


@pytest.mark.parametrize(("ratio", "hints"), [(0.1, 2), (0.3, 5), (0.5, 9)])
def test_a_hint_is_some_of_the_top_tenth(ratio: float, hints: int) -> None:
    """The official 5 at ratio 0.3 and 9 at 0.5; 20 hidden of 196 give 2 where 19.6 give 1."""
    high = plan_of(hide="high", ratio=ratio, probability=1).hidden[:, 0]
    plan = plan_of(hide="hint", ratio=ratio, probability=1)
    revealed = high & ~plan.hidden[:, 0]
    assert (revealed.sum(1) == hints).all()
    assert not (plan.hidden[:, 0] & ~high).any()
    top = ATTENTION.sort(dim=1).values[:, -19:-18] <= ATTENTION
    assert (top.sum(1) == 19).all()
    assert not (revealed & ~top).any()
    # any of the pool, not only its best or its worst
    shares = revealed.float().sum() / top.float().sum()
    best = revealed[torch.arange(500), ATTENTION.argmax(1)].float().mean()
    assert abs(best - shares) < 0.08
    assert plan.kept_ids is not None and plan.kept_ids.shape[2] == 196 - int(high[0].sum()) + hints


def test_half_of_the_images_stay_whole() -> None:
    plan = plan_of(hide="high", ratio=0.3)
    counts = plan.hidden.sum(2)
    assert set(counts.flatten().tolist()) == {0, 59}
    assert abs((counts > 0).float().mean() - 0.5) < 0.08
    assert plan.kept_ids is None


def test_the_ratio_is_drawn_once_a_step() -> None:
    few = ATTENTION[:3]
    counts = [plan_of(few, step, hide="high", probability=1).hidden.sum(2) for step in range(200)]
    assert all((count == count[0]).all() for count in counts)
    drawn = torch.stack([count[0, 0] for count in counts]).float()
    assert drawn.min() < 30 and drawn.max() > 90  # 0.1 and 0.5 of 196 are 20 and 98
    assert abs(drawn.mean() - 59) < 5


def test_permuted_attention_permutes_the_mask() -> None:
    order = torch.randperm(196, generator=torch.Generator().manual_seed(0))
    hidden = plan_of(hide="high", ratio=0.3, probability=1).hidden
    permuted = plan_of(ATTENTION[:, order], hide="high", ratio=0.3, probability=1).hidden
    assert torch.equal(permuted, hidden[:, :, order])


def test_equal_attention_is_ordered_by_the_key() -> None:
    plans = [plan_of(torch.ones(20, 196), hide="high", ratio=0.3, probability=1) for _ in range(2)]
    assert torch.equal(plans[0].hidden, plans[1].hidden)
    assert len(plans[0].hidden.unique(dim=0)) == 20
