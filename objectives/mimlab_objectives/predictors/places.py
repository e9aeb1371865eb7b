"""Which patches a predictor is asked for, and how what it says goes back to its place."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mimlab_objectives.masking.plan import MaskPlan


def hidden_ids(plan: MaskPlan) -> Int[Tensor, "batch_rounds hidden"]:
    """Patches that are not kept, ascending, of every round. Raises ValueError if the plan's counts
    differ by image."""
    if plan.kept_ids is None or plan.restore_ids is None:
        raise ValueError("this masking hides a different number of patches in each image")
    restore = plan.restore_ids.flatten(0, 1)
    ids = torch.arange(restore.shape[1], device=restore.device).expand_as(restore)
    order = torch.empty_like(restore).scatter_(1, restore, ids)
    return order[:, plan.kept_ids.shape[-1] :]


def keeping(plan: MaskPlan, ids: Int[Tensor, "batch_rounds kept"]) -> MaskPlan:
    """A plan for an encoder that is to see the patches `ids` and no others."""
    kept_ids = ids.unflatten(0, plan.hidden.shape[:2])
    return replace(plan, kept_ids=kept_ids, restore_ids=None, replaced=None)


def of_places(
    features: Float[Tensor, "rows tokens dim"], ids: Int[Tensor, "rows places"]
) -> Float[Tensor, "rows places dim"]:
    """Features of the patches `ids`."""
    return features.gather(1, ids.unsqueeze(-1).expand(-1, -1, features.shape[-1]))


def in_place(
    values: Float[Tensor, "rows places dim"], ids: Int[Tensor, "rows places"], plan: MaskPlan
) -> Float[Tensor, "batch rounds tokens dim"]:
    """Values of the patches `ids` among those of all patches, 0 elsewhere."""
    whole = values.new_zeros(len(values), plan.hidden.shape[-1], values.shape[-1])
    row = torch.arange(len(values), device=values.device)[:, None]
    return whole.index_put((row, ids), values).unflatten(0, plan.hidden.shape[:2])
