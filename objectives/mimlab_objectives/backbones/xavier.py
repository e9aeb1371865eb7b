"""MAE's initial matrices."""

from __future__ import annotations

from torch import nn


def init_matrix(module: nn.Module) -> None:
    """Xavier-uniform weights, the patch projection as a matrix; biases of linear layers are zero.

    As facebookresearch/mae, models_mae.py; for `Module.apply`.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.data.flatten(1))
