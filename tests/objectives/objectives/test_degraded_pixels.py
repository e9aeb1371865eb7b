"""GMML and A2MIM: closed forms of what they restore."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.groups import GroupMasking, Groups, GroupsParams
from mimlab_objectives.masking.mean_fill import MeanFillCells, MeanFillParams
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.objectives.a2mim import A2Mim
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.gmml import Gmml, GmmlParams
from mimlab_objectives.objectives.pixelwise import changed_pixel_losses
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget, patchify

START = Progress(step=0, fraction=0.0)
Build = Callable[..., Objective]


def groups_of(batch: Batch) -> MaskPlan:
    masking = GroupMasking(GroupsParams(), (8, 8))
    return masking.plan(MaskRequest(batch.ids, signals={"pixels": batch.images}))


def silence(layer: nn.Linear, bias: float) -> None:
    """A layer that predicts one number everywhere."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, bias)


def test_the_loss_is_the_mean_over_degraded_pixels(
    build_named: Build, batch_of: Callable[..., Batch]
) -> None:
    objective, batch = build_named("gmml"), batch_of(4)
    assert isinstance(objective, Gmml)
    last = objective.head[-1]
    assert isinstance(last, nn.Linear)
    silence(last, 0.25)
    plan = groups_of(batch)
    output = objective(batch, plan, START)
    assert isinstance(plan.corruption, Groups)
    error = (0.25 - batch.images).abs()[plan.corruption.pixels.expand_as(batch.images)]
    torch.testing.assert_close(output.loss_sum / output.loss_count, error.mean())


def test_clean_pixels_pull_on_nothing(batch_of: Callable[..., Batch]) -> None:
    batch = batch_of(4)
    plan = groups_of(batch)
    assert isinstance(plan.corruption, Groups)
    prediction = torch.randn(4, 1, 64, 48, requires_grad=True)
    changed = plan.corruption.pixels
    losses = changed_pixel_losses(prediction, patchify(batch.images, 4), changed, 4)
    (losses * plan.weight).sum().backward()
    where = patchify(changed.float().expand(-1, 3, -1, -1), 4)[:, None] > 0
    assert prediction.grad is not None
    assert torch.equal(prediction.grad != 0, where)


def test_clean_content_of_degraded_pixels_is_not_seen(
    build_named: Build, batch_of: Callable[..., Batch]
) -> None:
    objective, batch = build_named("gmml"), batch_of(4)
    plan = groups_of(batch)
    assert isinstance(plan.corruption, Groups)
    noisy = torch.where(plan.corruption.pixels, torch.randn_like(batch.images), batch.images)
    other = objective.reconstruct(Batch(batch.ids, noisy), plan)
    assert torch.equal(other, objective.reconstruct(batch, plan))


@pytest.mark.parametrize(("depth", "taps"), [(12, {6, 8, 10, 12}), (2, {1, 2}), (1, {1})])
def test_blocks_of_the_second_half_are_mixed(depth: int, taps: set[int]) -> None:
    params = BackboneParams(
        name="vit_tiny_patch16_224", patch_size=4, embed_dim=32, depth=depth, num_heads=2
    )
    target = PixelTarget(PixelParams(norm="none"), 4, (8, 8))
    assert Gmml(GmmlParams(), VitBackbone(params, 32), target).taps == taps


def test_a_perfect_prediction_costs_nothing_in_pixels_or_spectrum(build_named: Build) -> None:
    """Images that repeat one patch, and a head that predicts it everywhere."""
    objective = build_named("a2mim")
    assert isinstance(objective, A2Mim)
    images = torch.randn(1, 3, 4, 4).repeat(2, 1, 8, 8)
    nn.init.zeros_(objective.head.linear.weight)
    with torch.no_grad():
        objective.head.linear.bias.copy_(patchify(images, 4)[0, 0])
    plan = MeanFillCells(MeanFillParams(), (8, 8)).plan(MaskRequest(torch.arange(2)))
    output = objective(Batch(torch.arange(2), images), plan, START)
    assert output.terms["pixels"][0] < 1e-4 and output.terms["frequency"][0] < 1e-6


def test_clean_pixels_of_the_prediction_have_no_gradient_through_the_spectrum(
    build_named: Build, batch_of: Callable[..., Batch]
) -> None:
    objective, batch = build_named("a2mim"), batch_of(2)
    assert isinstance(objective, A2Mim)
    plan = MeanFillCells(MeanFillParams(), (8, 8)).plan(MaskRequest(torch.arange(2)))
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, prediction: torch.Tensor) -> None:
        prediction.retain_grad()
        seen.append(prediction)

    objective.head.register_forward_hook(keep)
    objective(batch, plan, START).loss_sum.backward()
    gradient = seen[0].grad
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(-1) > 1e-9, plan.hidden)


def test_the_token_is_added_where_patches_are_hidden_and_nowhere_else(
    build_named: Build, batch_of: Callable[..., Batch]
) -> None:
    objective, batch = build_named("a2mim"), batch_of(2)
    assert isinstance(objective, A2Mim)
    plan = MeanFillCells(MeanFillParams(), (8, 8)).plan(MaskRequest(torch.arange(2)))
    seen: list[torch.Tensor] = []
    objective.backbone.blocks.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    for value in (0.0, 1.0):
        nn.init.constant_(objective.mask_token, value)
        objective(batch, plan, START)
    added = (seen[1] - seen[0])[:, objective.backbone.num_prefix_tokens :]
    expected = plan.hidden[:, 0, :, None].float().expand_as(added)
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-5)
