"""CAPI's blocks: exact counts, whole on the torus, uniform where they roll."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.capi_block import CapiBlock, CapiBlockParams
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "capi"), np.arange(4000), 0))


def visible_of(**params: bool | float) -> Tensor:
    masking = CapiBlock(CapiBlockParams.model_validate(params), (14, 14))
    return ~masking.plan(MaskRequest(KEYS)).hidden.view(-1, 14, 14)


def components(images: Tensor) -> np.ndarray:
    shown = images.byte().numpy()
    return np.array([cv2.connectedComponents(image, connectivity=4)[0] - 1 for image in shown])


def test_rolled_every_patch_is_visible_equally_often() -> None:
    visible = visible_of()
    assert (visible.sum((1, 2)) == 68).all()
    assert (visible.float().mean(0) - 68 / 196).abs().max() < 0.03


def test_without_roll_the_corner_is_seen_rarely_and_the_centre_nearly_always() -> None:
    often = visible_of(roll=False).float().mean(0)
    assert abs(often[0, 0] - 0.03) < 0.02
    assert abs(often[6:8, 6:8].mean() - 0.87) < 0.04


def test_a_block_is_one_component_on_the_torus() -> None:
    """On the plane a rolled one has 1, 2, 3 or 4 in 18, 52, 2 and 28 % of draws."""
    assert (components(visible_of(roll=False)[:1000]) == 1).all()
    rolled = visible_of()
    shares = np.bincount(components(rolled), minlength=5)[1:] / len(KEYS)
    assert np.abs(shares - [0.18, 0.52, 0.02, 0.28]).max() < 0.03
    torus = rolled[:1000].repeat(1, 2, 2)  # a component of the torus appears whole in 2×2 copies
    sizes = [
        cv2.connectedComponentsWithStats(image, connectivity=4)[2][1:, 4].max()
        for image in torus.byte().numpy()
    ]
    assert min(sizes) >= 68


def test_sides_are_6_to_12_before_the_roll() -> None:
    visible = visible_of(roll=False)
    for sides in (visible.any(2).sum(1), visible.any(1).sum(1)):
        assert sides.min() == 6
        assert sides.max() == 12


def test_not_inverted_the_block_is_hidden() -> None:
    hidden = ~visible_of(inverse=False, roll=False, ratio=0.35)
    assert (hidden.sum((1, 2)) == 69).all()
    assert (components(hidden[:500]) == 1).all()


def test_a_share_of_the_hidden_patches_is_predicted() -> None:
    plan = CapiBlock(CapiBlockParams(predicted=0.05), (14, 14)).plan(MaskRequest(KEYS))
    assert (plan.predicted.sum(2) == 6).all()
    assert not (plan.predicted & ~plan.hidden).any()
    assert torch.equal(plan.weight, plan.predicted.float())
    of_hidden = plan.predicted.float().mean((0, 1)) / plan.hidden.float().mean((0, 1))
    assert (of_hidden - 6 / 128).abs().max() < 0.02


@pytest.mark.parametrize("grid", [(4, 12), (12, 4), (2, 9)], ids=str)
@pytest.mark.parametrize("inverse", [False, True])
def test_a_narrow_grid_takes_narrow_blocks_or_names_the_aspect(
    grid: tuple[int, int], inverse: bool
) -> None:
    with pytest.raises(ParamsError, match=r"aspect may be at most (0\.\d+)") as error:
        CapiBlock(CapiBlockParams(ratio=0.5, inverse=inverse, aspect=1.0), grid)
    assert error.value.field == "aspect"
    legal = float(str(error.value).rpartition(" ")[2])
    masking = CapiBlock(CapiBlockParams(ratio=0.5, inverse=inverse, aspect=legal), grid)
    assert (masking.plan(MaskRequest(KEYS[:50])).hidden.sum(2) == masking.num_hidden).all()
