"""AdamW over an objective's parameter groups."""

from __future__ import annotations

import torch

from mimlab.train.config import OptimizerConfig
from mimlab_objectives.objectives.base import Objective


def build_optimizer(objective: Objective, config: OptimizerConfig) -> torch.optim.AdamW:
    """Fused AdamW; each group keeps its `lr_scale` for `set_lr`."""
    groups = [
        {
            "params": group.params,
            "weight_decay": config.weight_decay * group.decay_scale if group.decay else 0.0,
            "lr_scale": group.lr_scale,
        }
        for group in objective.param_groups()
        if group.params
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group `lr` times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
