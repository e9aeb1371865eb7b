"""SimMIM: mask tokens in the encoder, one linear layer as the decoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.initial import init_as_simmim
from mimlab_objectives.objectives.losses import RegressionLoss, patch_losses
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target


class SimMimParams(Params):
    """The loss; the head is one linear layer."""

    loss: RegressionLoss | None = None
    """Of vectors; null: absolute error, the paper's. Classes have their cross-entropy."""


@objectives.register("simmim", params=SimMimParams, paper="Xie et al., 2022 (arXiv:2111.09886)")
class SimMim(Objective):
    """Encodes all positions, the hidden ones as a mask token; linear head, absolute error.

    After microsoft/SimMIM, models/simmim.py and models/vision_transformer.py: the token replaces
    patch embeddings before positions are added; matrices, mask and class token are normal with
    0.02, cut at one deviation; the output matrices of block i are divided by √(2i); the absolute
    error is averaged inside a patch, then over predicted patches of the whole batch. The paper
    predicts raw pixels (target `pixels` with `norm: none`) at 60 % in 32 px cells.

    It departs from the paper where timm's transformers do: learned absolute positions instead of a
    relative bias that the blocks share, LayerScale only in models that have it, the key bias
    trained too, and the final norm applied.
    """

    mode: ClassVar[EncoderMode] = "full"

    def __init__(self, params: SimMimParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.loss: RegressionLoss = params.loss or "l1"
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        init_as_simmim(self)
        self.head = nn.Linear(backbone.dim, target.dim)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch; any number of hidden patches in each image."""
        prediction = self._predict(batch, plan)
        target = self.target.of(batch)
        return patchwise_output(patch_losses(prediction, target, self.loss), plan)

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, kept ones included."""
        return self.target.to_pixels(self._predict(batch, plan), batch.images)

    def _predict(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens target_dim"]:
        encoded = self.backbone.encode_full(batch.images, plan, self.mask_token)
        prediction = self.head(encoded[:, self.backbone.num_prefix_tokens :])
        return prediction.unflatten(0, plan.hidden.shape[:2])
