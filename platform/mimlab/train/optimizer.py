"""AdamW over an objective's parameter groups."""

from __future__ import annotations

import torch

from mimlab.train.config import OptimizerConfig
from mimlab_objectives.objectives.base import Objective, ParamGroup


def build_optimizer(objective: Objective, config: OptimizerConfig) -> torch.optim.AdamW:
    """Fused AdamW; each group keeps its scales for `set_lr` and `set_decay`."""
    groups = [
        {
            "params": group.params,
            "weight_decay": config.weight_decay * _decay_scale(group),
            "lr_scale": group.lr_scale,
            "decay_scale": _decay_scale(group),
        }
        for group in objective.param_groups()
        if group.params
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group `lr` times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def set_decay(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Give every group `decay` times its scale, which is 0 where none applies."""
    for group in optimizer.param_groups:
        group["weight_decay"] = decay * group["decay_scale"]


def _decay_scale(group: ParamGroup) -> float:
    return group.decay_scale if group.decay else 0.0
