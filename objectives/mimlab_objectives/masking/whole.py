"""Plans that hide no patch, since the whole input is degraded, and predict all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimlab_objectives.masking.corruption import Corruption
from mimlab_objectives.masking.plan import Grid, MaskPlan
from mimlab_objectives.masking.select import plan_of_hidden


@dataclass(frozen=True)
class WholeCorruption(Corruption):
    """What leaves nothing of an image as it was."""

    def changed(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """Every pixel."""
        return torch.ones_like(images[:, :1], dtype=torch.bool)


def plan_of_corruption(corruption: Corruption, grid: Grid, keys: Int[Tensor, " batch"]) -> MaskPlan:
    """One round in which every patch is seen, degraded, and every patch counts as 1."""
    nothing = torch.zeros(len(keys), grid[0] * grid[1], dtype=torch.bool, device=keys.device)
    plan = plan_of_hidden(nothing, grid, keys, num_hidden=0)
    return replace(
        plan,
        predicted=~plan.hidden,
        weight=torch.ones_like(plan.weight),
        corruption=corruption,
    )
