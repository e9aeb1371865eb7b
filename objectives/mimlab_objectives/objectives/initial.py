"""Initial weights that several objectives share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mimlab_objectives.backbones.xavier import init_matrix
from mimlab_objectives.objectives.base import Objective

_STD = 0.02


def init_as_mae(objective: Objective) -> None:
    """All weights of an objective as in facebookresearch/mae, models_mae.py.

    Fixed sine-cosine positions, Xavier-uniform matrices (the patch projection as a matrix), tokens
    N(0, 0.02²). Raises ParamsError if the channels do not split into positions.
    """
    objective.apply(init_matrix)
    objective.backbone.set_sincos_positions()
    for name, parameter in objective.named_parameters():
        if name.endswith("token"):
            nn.init.normal_(parameter, std=_STD)


def init_as_simmim(objective: Objective) -> None:
    """An encoder's weights, and the tokens beside it, as in microsoft/SimMIM.

    models/simmim.py and models/vision_transformer.py: matrices, tokens and learned positions are
    normal with 0.02, cut at one deviation; the output matrices of block i are divided by √(2i).
    Call it before heads are built, which keep torch's own.
    """
    objective.backbone.apply(_truncate_matrix)
    for name, parameter in objective.named_parameters():
        if name.endswith(("token", "pos_embed")):
            _truncated_normal(parameter)
    _shrink_outputs(objective.backbone.vit.blocks)


def _truncate_matrix(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        _truncated_normal(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def _shrink_outputs(blocks: nn.Sequential) -> None:
    for number, block in enumerate(blocks, start=1):
        for name, part in block.named_modules():
            if name.endswith(("attn.proj", "mlp.fc2")) and isinstance(part, nn.Linear):
                part.weight.div_(math.sqrt(2 * number))


def _truncated_normal(tensor: Tensor) -> None:
    nn.init.trunc_normal_(tensor, std=_STD, a=-_STD, b=_STD)
