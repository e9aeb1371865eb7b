"""Losses that are known for the patches that a predictor was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import ObjectiveOutput


def placed_output(
    errors: Float[Tensor, "rows places"],
    ids: Int[Tensor, "rows places"],
    plan: MaskPlan,
    *,
    terms: Mapping[str, Float[Tensor, "rows places"]] | None = None,
    diagnostics: Mapping[str, Tensor] | None = None,
) -> ObjectiveOutput:
    """The output of the losses of the patches `ids`, under the plan's weights.

    `terms` are parts of the loss, of the same patches. A patch that was asked for several times
    counts as often; its `per_patch_loss` is the mean of them.
    """
    weight = plan.weight.flatten(0, 1).float().gather(1, ids)
    count = weight.sum()
    parts = {name: ((part.detach() * weight).sum(), count) for name, part in (terms or {}).items()}
    asked = torch.zeros_like(plan.weight, dtype=torch.float32).flatten(0, 1)
    losses = asked.scatter_add(1, ids, errors.detach().float())
    times = asked.scatter_add(1, ids, torch.ones_like(weight)).clamp(min=1)
    per_patch = (losses / times).unflatten(0, plan.hidden.shape[:2])
    return ObjectiveOutput(
        (errors.float() * weight).sum(),
        count,
        per_patch_loss=torch.where(plan.predicted, per_patch, 0.0),
        terms=parts,
        diagnostics=diagnostics or {},
    )
