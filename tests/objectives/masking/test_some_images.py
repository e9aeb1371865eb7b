"""iBOT's and DINOv2's blocks: a part of the images, each with a ratio of its own."""

import numpy as np
import pytest
import torch

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.dinov2_block import Dinov2Block, Dinov2BlockParams
from mimlab_objectives.masking.ibot_block import IbotBlock, IbotBlockParams
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "some images"), np.arange(6000), 0))
IBOT = IbotBlock(IbotBlockParams(), (14, 14)).plan(MaskRequest(KEYS))
DINOV2 = Dinov2Block(Dinov2BlockParams(), (14, 14))


def test_ibot_leaves_every_other_image_whole_and_hides_57_of_the_others() -> None:
    counts = IBOT.hidden.sum(2)[:, 0]
    masked = counts[counts > 0].float()
    assert abs(len(masked) / len(counts) - 0.5) < 0.02
    assert abs(masked.mean() - 57.1) < 1.2
    assert masked.min() >= 10
    assert masked.max() <= 97  # 0.5 · 196 = 98 is never drawn


def test_ibot_masks_all_images_if_told_so() -> None:
    params = IbotBlockParams(share=1.0, ratio=0.4, spread=0.0)
    counts = IbotBlock(params, (14, 14)).plan(MaskRequest(KEYS[:1000])).hidden.sum(2)
    assert counts.min() > 50
    assert counts.max() == 78  # 78.4, which is not rounded up


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 501])
def test_dinov2_masks_half_of_a_batch_in_even_steps(batch: int) -> None:
    keys = KEYS[:batch]
    asked, plan = DINOV2.asked(keys), DINOV2.plan(MaskRequest(keys))
    num_masked = batch // 2
    counts = plan.hidden.sum(2)[:, 0]
    assert int((asked > 0).sum()) == int((counts > 0).sum()) == num_masked
    assert (counts <= asked).all()
    rising = asked[asked > 0].sort().values
    edges = 196 * (0.1 + 0.4 * torch.arange(num_masked + 1) / max(num_masked, 1))
    assert (rising >= edges[:-1].floor()).all()
    assert (rising <= edges[1:]).all()
    bound = int(edges[1:].ceil().sum())
    assert int(counts.sum()) <= bound


def test_dinov2_mostly_reaches_what_it_asks_for() -> None:
    asked, counts = DINOV2.asked(KEYS), DINOV2.plan(MaskRequest(KEYS)).hidden.sum(2)[:, 0]
    reached = (counts == asked)[asked > 0].float().mean()
    assert abs(reached - 0.92) < 0.03


def test_a_rectangle_has_a_largest_area() -> None:
    params = Dinov2BlockParams(share=1.0, max_share=0.1, ratio=0.5, spread=0.0)
    masking = Dinov2Block(params, (14, 14))
    first = masking.blocks.draw(KEYS[:500], 1000, max_area=masking.max_area)
    assert masking.max_area == 19
    assert first.sum(1).float().mean() > 19  # many of them together hide more
    small = masking.blocks.draw(KEYS[:500], 19, max_area=masking.max_area)
    assert small.sum(1).max() <= 19


@pytest.mark.parametrize("plan", [IBOT, DINOV2.plan(MaskRequest(KEYS))], ids=["ibot", "dinov2"])
def test_every_masked_image_weighs_one(plan) -> None:
    of_image = plan.weight.sum(2)[:, 0]
    masked = plan.hidden.any(2)[:, 0]
    torch.testing.assert_close(of_image, masked.float())


@pytest.mark.parametrize(("ratio", "spread"), [(0.2, 0.2), (0.9, 0.1), (0.1, 0.3)])
def test_ratios_that_reach_none_or_all_are_refused(ratio: float, spread: float) -> None:
    for build in (
        lambda: IbotBlock(IbotBlockParams(ratio=ratio, spread=spread), (14, 14)),
        lambda: Dinov2Block(Dinov2BlockParams(ratio=ratio, spread=spread), (14, 14)),
    ):
        with pytest.raises(ParamsError, match=r"spread must be below 0\.[12]$") as error:
            build()
        assert error.value.field == "spread"
