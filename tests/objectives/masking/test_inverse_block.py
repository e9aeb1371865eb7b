"""data2vec 2.0's scattered visible blocks."""

import numpy as np
import pytest
import torch

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.inverse_block import InverseBlock, InverseBlockParams
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "inverse block"), np.arange(4000), 0))
BASE = InverseBlock(InverseBlockParams(), (14, 14))


def test_39_of_196_are_visible_after_repair_and_about_as_many_before() -> None:
    """Five 3×3 blocks that overlap and are cut at borders: 21–45 patches, 37.5 on average."""
    assert BASE.num_hidden == 157
    before = BASE.scattered(KEYS, 157).sum(1).float()
    plan = BASE.plan(MaskRequest(KEYS))
    assert (plan.hidden.sum(2) == 157).all()
    assert torch.equal(plan.repaired[:, 0], (before - 39).abs().long())
    assert abs(before.mean() - 37.5) < 0.7
    assert before.max() == 45
    assert before.min() >= 12


def test_what_is_scattered_are_whole_blocks() -> None:
    """Every visible patch lies in a visible 3×3 block, but for the border."""
    visible = BASE.scattered(KEYS[:500], 157).view(-1, 1, 14, 14).float()
    outside = torch.nn.functional.pad(visible, (1, 1, 1, 1), value=1.0)
    centres = torch.nn.functional.avg_pool2d(outside, 3, stride=1) > 0.999
    around = torch.nn.functional.max_pool2d(centres.float(), 3, stride=1, padding=1)
    assert torch.equal(around, visible)


def test_a_block_of_one_patch_is_random_masking() -> None:
    params = InverseBlockParams(side=1, adjust=0, ratio=0.5)
    hidden = InverseBlock(params, (14, 14)).plan(MaskRequest(KEYS)).hidden
    assert (hidden.float().mean((0, 1)) - 0.5).abs().max() < 0.03


def test_an_even_side_is_refused() -> None:
    with pytest.raises(ParamsError, match="side must be odd, not 4") as error:
        InverseBlock(InverseBlockParams(side=4), (14, 14))
    assert error.value.field == "side"
