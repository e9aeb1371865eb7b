"""ROPIM: closed forms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.masking.projection import Projection, ProjectionParams, RandomProjection
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.ropim import Ropim
from mimlab_objectives.targets.pixels import patchify, unpatchify

START = Progress(step=0, fraction=0.0)


def plan_of(count: int) -> tuple[MaskPlan, Projection]:
    masking = RandomProjection(ProjectionParams(bucket=4), (8, 8))
    plan = masking.plan(MaskRequest(torch.arange(count)))
    assert isinstance(plan.corruption, Projection)
    return plan, plan.corruption


def silent(build_named: Callable[..., Objective]) -> Ropim:
    """Predicts 0, so that the residual is the image."""
    objective = build_named("ropim")
    assert isinstance(objective, Ropim)
    nn.init.zeros_(objective.head.linear.weight)
    nn.init.zeros_(objective.head.linear.bias)
    return objective


def test_a_residual_that_the_projection_keeps_costs_nothing(
    build_named: Callable[..., Objective],
) -> None:
    plan, projection = plan_of(3)
    kept = projection.sketch() @ torch.randn(3, 16, 48)
    batch = Batch(torch.arange(3), unpatchify(kept, 4, (8, 8)))
    output = silent(build_named)(batch, plan, START)
    assert float((output.loss_sum / output.loss_count).detach()) < 1e-6


def test_the_loss_is_the_mean_of_what_is_removed(
    build_named: Callable[..., Objective], batch_of: Callable[..., Batch]
) -> None:
    (plan, projection), batch = plan_of(3), batch_of(3)
    output = silent(build_named)(batch, plan, START)
    matrix = projection.scale * projection.sketch() @ projection.sketch().transpose(1, 2)
    removed = (torch.eye(64) - matrix) @ patchify(batch.images, 4)
    torch.testing.assert_close(output.loss_sum / output.loss_count, removed.abs().mean())
    torch.testing.assert_close(output.per_patch_loss[:, 0], removed.abs().mean(-1))


def test_the_encoder_sees_projected_embeddings(
    build_named: Callable[..., Objective], batch_of: Callable[..., Batch]
) -> None:
    """Embeddings that the projection removes entirely leave the bare positions."""
    (plan, projection), batch = plan_of(3), batch_of(3)
    objective = build_named("ropim")
    seen: list[torch.Tensor] = []
    objective.backbone.blocks.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    tokens = objective.backbone.patch_tokens(batch.images)
    objective(batch, plan, START)
    expected = objective.backbone.embed(projection.apply(tokens))
    torch.testing.assert_close(seen[0], expected)
