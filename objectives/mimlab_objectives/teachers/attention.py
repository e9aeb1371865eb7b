"""What a frozen vision transformer looks at."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from timm.layers.attention import Attention
from timm.models import VisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimlab_objectives.backbones.attention import attention_to_patches
from mimlab_objectives.teachers.frozen import FrozenTeacher


@torch.no_grad()
def teacher_attention(
    teacher: FrozenTeacher, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch tokens"]:
    """Softmax attention of a teacher's last block from its class token to each patch, as
    `attention_to_patches` gives it. Only for a plain vision transformer (`is_plain`)."""
    model = teacher.model_on(images.device)
    assert isinstance(model, VisionTransformer)
    last = model.blocks[-1]
    assert isinstance(last, Block)
    given: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0])

    hook = last.attn.register_forward_pre_hook(keep)
    try:
        model.forward_features(teacher.see(images))
    finally:
        hook.remove()
    return attention_to_patches(
        cast("Attention", last.attn),
        given[0],
        num_prefix_tokens=teacher.num_prefix_tokens,
        class_token=teacher.has_class_token,
    )
