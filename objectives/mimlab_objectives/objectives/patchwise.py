"""Losses that decompose over patches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import ObjectiveOutput, weighted_sum


def patchwise_output(
    per_patch: Float[Tensor, "batch rounds tokens"],
    plan: MaskPlan,
    *,
    diagnostics: Mapping[str, Tensor] | None = None,
) -> ObjectiveOutput:
    """The output of a loss that is known for every patch: only predicted patches count."""
    loss_sum, loss_count = weighted_sum(per_patch, plan)
    shown = torch.where(plan.predicted, per_patch.detach().float(), 0.0)
    return ObjectiveOutput(
        loss_sum, loss_count, per_patch_loss=shown, diagnostics=diagnostics or {}
    )


def with_image_term(
    output: ObjectiveOutput,
    plan: MaskPlan,
    *,
    names: tuple[str, ...],
    losses: Float[Tensor, " batch"],
    weight: float,
) -> ObjectiveOutput:
    """The output of patch losses with `weight` times a loss of each image added.

    An image counts as much as its patches do, so that sums still add over micro-batches. `names`
    are those of the two terms.
    """
    shares = plan.weight.float().sum((1, 2))
    added = (losses.float() * shares).sum()
    return ObjectiveOutput(
        output.loss_sum + weight * added,
        output.loss_count,
        per_patch_loss=output.per_patch_loss,
        terms={
            names[0]: (output.loss_sum.detach(), output.loss_count.detach()),
            names[1]: (added.detach(), output.loss_count.detach()),
        },
    )
