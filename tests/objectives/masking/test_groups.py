"""Degraded groups of pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.groups import GroupMasking, Groups, GroupsParams, normal
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.masking.rectangles import Rectangles
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "groups"), np.arange(300), 0))


def plan_of(images: Tensor, grid: tuple[int, int] = (8, 8), **params: object) -> MaskPlan:
    masking = GroupMasking(GroupsParams.model_validate(params), grid)
    return masking.plan(MaskRequest(KEYS[: len(images)], signals={"pixels": images}))


def groups_of(plan: MaskPlan) -> Groups:
    assert isinstance(plan.corruption, Groups)
    return plan.corruption


@pytest.mark.parametrize(("align", "covered", "whole"), [(16, 0.649, 0.649), (1, 0.638, 0.355)])
def test_coverage_of_the_official_setting(align: int, covered: float, whole: float) -> None:
    """Means of the official routine at 224 px: pixels covered, and patches of 16 px wholly so."""
    images = torch.zeros(60, 3, 224, 224)
    plan = plan_of(images, (14, 14), align=align, fill="zeros", replace_probability=0)
    pixels = groups_of(plan).pixels
    share = pixels.float().mean((1, 2, 3))
    assert abs(share.mean() - covered) < 0.02
    assert share.min() >= 0.5 and share.max() < 0.85
    assert abs(plan.hidden.float().mean() - whole) < 0.03
    torch.testing.assert_close(plan.weight.mean(), share.mean())
    if align == 16:
        patches = pixels.view(60, 14, 16, 14, 16)
        assert (patches == patches[:, :, :1, :, :1]).all()


@pytest.mark.parametrize("size", [(32, 32), (24, 40)], ids=str)
def test_rectangles_cover_what_is_asked(size: tuple[int, int]) -> None:
    budget = torch.linspace(0.05, 0.9, 300)
    rectangles = Rectangles(*size, max_side=0.3, align=1)
    covered, source = rectangles.draw(KEYS, budget), rectangles.sources(KEYS, budget)
    share = covered.float().mean((1, 2))
    assert (share >= budget).all()
    assert (share < budget + 0.09 + 0.02).all()  # a rectangle is at most 0.3 · 0.3 of the image
    own = torch.arange(size[0] * size[1]).view(size)
    assert (source == own)[~covered].all()
    assert source.min() >= 0 and source.max() < size[0] * size[1]
    assert (source != own)[covered].float().mean() > 0.9


@pytest.mark.parametrize("fill", ["noise", "zeros", "copy", "replace"])
def test_only_covered_pixels_change(fill: str) -> None:
    images = torch.randn(6, 3, 32, 32)
    groups = groups_of(plan_of(images, fill=fill))
    degraded = groups.apply(images)
    where = groups.pixels.expand_as(images)
    assert torch.equal(degraded[~where], images[~where])
    assert (degraded[where] != images[where]).float().mean() > 0.9


def test_content_comes_from_the_partner_or_from_itself() -> None:
    images = torch.arange(5.0)[:, None, None, None] + torch.rand(5, 3, 32, 32) / 2
    content = groups_of(plan_of(images, fill="replace")).content
    assert torch.equal(content[:4], images[[1, 0, 3, 2]])
    assert (content[4] >= 4).all()  # the odd one has no partner
    copied = groups_of(plan_of(images, fill="copy", replace_probability=0)).content
    assert torch.equal(copied.floor(), images.floor())
    for image, source in zip(images, copied, strict=True):
        assert torch.isin(source, image).all()


@pytest.mark.parametrize("fill", ["noise", "zeros", "copy", "replace"])
def test_a_batch_that_is_cut_between_pairs_is_planned_as_a_whole(fill: str) -> None:
    images = torch.randn(12, 3, 32, 32)
    masking = GroupMasking(GroupsParams.model_validate({"fill": fill}), (8, 8))
    assert masking.images_together == 2
    whole = groups_of(masking.plan(MaskRequest(KEYS[:12], signals={"pixels": images})))
    for start, stop in ((0, 4), (4, 12)):
        keys, own = KEYS[start:stop], images[start:stop]
        part = groups_of(masking.plan(MaskRequest(keys, signals={"pixels": own})))
        assert torch.equal(part.pixels, whole.pixels[start:stop])
        assert torch.equal(part.content, whole.content[start:stop])


def test_images_that_need_no_partner_may_be_cut_anywhere() -> None:
    alone = GroupsParams(fill="copy", replace_probability=0)
    assert GroupMasking(alone, (8, 8)).images_together == 1


def test_half_of_the_images_are_filled_from_their_partner_at_a_smaller_share() -> None:
    images = torch.ones(300, 3, 32, 32)
    groups = groups_of(plan_of(images, fill="zeros"))
    replaced = (groups.content == 1).flatten(1).all(1)
    assert abs(replaced.float().mean() - 0.5) < 0.1
    share = groups.pixels.float().mean((1, 2, 3))
    assert share[replaced].min() >= 0.3 and share[replaced].max() < 0.41
    assert share[~replaced].min() >= 0.5


def test_a_patch_weighs_as_much_as_it_is_degraded() -> None:
    plan = plan_of(torch.randn(20, 3, 32, 32))
    pixels = groups_of(plan).pixels.view(20, 8, 4, 8, 4).float().mean((2, 4)).flatten(1)
    assert torch.equal(plan.weight[:, 0], pixels)
    assert torch.equal(plan.hidden[:, 0], pixels == 1)
    assert torch.equal(plan.predicted[:, 0], pixels > 0)


def test_groups_are_connected() -> None:
    """Far fewer borders between degraded and clean patches than random masks of the same count."""
    images = torch.zeros(200, 3, 32, 32)
    hidden = plan_of(images, align=4, replace_probability=0).hidden[:, 0]
    shuffled = hidden[:, torch.randperm(64, generator=torch.Generator().manual_seed(0))]

    def borders(masks: Tensor) -> float:
        grid = masks.view(-1, 8, 8)
        changes = (grid.diff(dim=1) != 0).sum() + (grid.diff(dim=2) != 0).sum()
        return float(changes) / len(masks)

    assert borders(hidden) < 0.75 * borders(shuffled)


def test_noise_is_standard_normal() -> None:
    noise = normal(KEYS, 3000)
    assert abs(noise.mean()) < 0.005 and abs(noise.std() - 1) < 0.005
    assert abs((noise.abs() < 1).float().mean() - 0.6827) < 0.003


def test_pixels_that_align_does_not_divide_are_reached() -> None:
    images = torch.zeros(100, 3, 30, 30)
    plan = plan_of(images, (5, 5), align=8, max_side=0.5)
    assert groups_of(plan).pixels[..., -1, -1].any()


@pytest.mark.parametrize(("ratio", "spread"), [(0.1, 0.1), (0.9, 0.1)])
def test_a_range_that_cannot_be_reached_is_refused(ratio: float, spread: float) -> None:
    with pytest.raises(ParamsError, match=r"must stay above 0 and at most 0\.95") as error:
        GroupMasking(GroupsParams(ratio=ratio, ratio_spread=spread), (8, 8))
    assert error.value.field == "ratio_spread"
