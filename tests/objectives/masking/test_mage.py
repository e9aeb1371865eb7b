"""MAGE: the ratio varies, the encoder's length does not."""

import numpy as np
import pytest
import torch

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.mage import Mage, MageParams
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.schedules import LinearRatio
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "mage"), np.arange(16), 0))


def test_98_of_196_are_dropped_whatever_is_hidden() -> None:
    masking = Mage(MageParams(), (14, 14))
    ratios = []
    for step in range(400):
        plan = masking.plan(MaskRequest(KEYS[:2], step_key=key_of(step)))
        assert plan.kept_ids is not None and plan.replaced is not None
        assert plan.kept_ids.shape[2] == 98
        count = int(plan.hidden[0].sum())
        assert (plan.replaced.sum(2) == count - 98).all()
        assert torch.equal(plan.predicted, plan.hidden)
        ratios.append(count / 196)
    assert min(ratios) >= 0.5
    assert abs(np.mean(ratios) - 0.694) < 0.015


def test_16x16_patches_drop_128() -> None:
    assert Mage(MageParams(), (16, 16)).num_dropped == 128


def test_everything_may_be_hidden() -> None:
    ratio = LinearRatio(name="linear", start=0.999, end=0.6)
    plan = Mage(MageParams(ratio=ratio), (14, 14)).plan(MaskRequest(KEYS))
    assert plan.hidden.all()
    assert plan.replaced is not None and plan.replaced.all()


def test_a_higher_ratio_hides_more_of_the_same_order() -> None:
    def hidden(ratio: float) -> torch.Tensor:
        return Mage(MageParams(ratio=ratio), (14, 14)).plan(MaskRequest(KEYS)).hidden

    assert not (hidden(0.6) & ~hidden(0.9)).any()


def test_every_patch_is_dropped_replaced_and_seen_equally_often() -> None:
    keys = torch.from_numpy(sample_keys(key_of(1, "mage"), np.arange(6000), 0))
    plan = Mage(MageParams(ratio=0.75), (8, 8)).plan(MaskRequest(keys))
    assert plan.kept_ids is not None and plan.replaced is not None
    kept = torch.zeros_like(plan.hidden).scatter(2, plan.kept_ids, True)
    assert (kept.float().mean((0, 1)) - 0.5).abs().max() < 0.03
    assert ((plan.hidden & kept).float().mean((0, 1)) - 0.25).abs().max() < 0.03


def test_less_hidden_than_dropped_is_refused() -> None:
    with pytest.raises(ParamsError, match="raise ratio or lower dropped") as error:
        Mage(MageParams(ratio=0.4), (14, 14))
    assert error.value.field == "dropped"
    assert Mage(MageParams(ratio=0.4, dropped=0.4), (14, 14)).num_hidden == 79
