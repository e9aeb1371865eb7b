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
