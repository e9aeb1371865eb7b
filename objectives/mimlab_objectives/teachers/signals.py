"""What an encoder and its teacher can tell a masking before it plans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import Signal


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A module without drop path and gradient for a while."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def encoder_signals(
    names: frozenset[Signal],
    images: Float[Tensor, "batch 3 height width"],
    *,
    encoder: VitBackbone,
    teacher: VitBackbone,
) -> dict[Signal, Tensor]:
    """`features` of the encoder and `teacher_attention` of the teacher, those of them asked for."""
    found: dict[Signal, Tensor] = {}
    if "features" in names:
        with evaluating(encoder):
            found["features"] = encoder.encode_all(images)[:, encoder.num_prefix_tokens :].float()
    if "teacher_attention" in names:
        with evaluating(teacher):
            found["teacher_attention"] = teacher.last_attention(images)
    return found
