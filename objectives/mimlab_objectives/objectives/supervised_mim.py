"""Labels of whole images and patches of masked ones, in one loss."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

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
from mimlab_objectives.objectives.labelled import LabelParams, image_features
from mimlab_objectives.objectives.losses import RegressionLoss, patch_losses
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.predictors.decoder import MaeDecoder
from mimlab_objectives.targets.base import Target


class SupervisedMimParams(LabelParams):
    """The decoder and the weight of the patches; none of it is known of the paper."""

    decoder_depth: int = Field(default=2, ge=1, le=256)
    """Blocks of the decoder, which the paper calls shallow."""
    decoder_width: int = Field(default=512, ge=4)
    """Channels of the decoder: a multiple of 4 and of `decoder_heads`."""
    decoder_heads: int = Field(default=16, ge=1)
    """Attention heads of the decoder."""
    patch_weight: float = Field(default=1.0, gt=0)
    """Of the patches' loss; that of the labels has 1."""
    loss: RegressionLoss | None = None
    """Of vectors; null: squared error. Classes have their cross-entropy."""


@objectives.register(
    "supervised_mim", params=SupervisedMimParams, paper="Chen et al., 2023 (arXiv:2312.00950)"
)
class SupervisedMim(Objective):
    """Approximate: classifies whole images, and predicts hidden patches from the kept ones.

    The abstract alone could be read: a classification loss, and a masked copy whose features pass a
    shallow transformer decoder that predicts image tokens (any target here). Decoder depth, loss
    weights, ratio and tokenizer are not verified; no code was found. An image's label counts
    as much as its predicted patches do together, so that with equal counts the loss is the mean
    over images plus the mean over patches.
    """

    mode: ClassVar[EncoderMode] = "visible"
    uses_labels: ClassVar[bool] = True
    terms: ClassVar[tuple[str, ...]] = ("label", "patch")
    patch_term: ClassVar[str | None] = "patch"
    diagnostics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(self, params: SupervisedMimParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.loss: RegressionLoss = params.loss or "mse"
        self.patch_weight = params.patch_weight
        self.decoder = MaeDecoder(
            backbone.dim,
            target.dim,
            grid=backbone.grid,
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=params.decoder_width,
            depth=params.decoder_depth,
            num_heads=params.decoder_heads,
        )
        nn.init.normal_(self.decoder.mask_token, std=0.02)
        self.head = nn.Linear(backbone.dim, params.num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        assert batch.labels is not None  # the loop gives them, since `uses_labels`
        encoded = self.backbone.encode_all(batch.images)
        logits = self.head(image_features(self.backbone, encoded)).float()
        label_loss = functional.cross_entropy(logits, batch.labels, reduction="none")
        target = self.target.of(batch)
        per_patch = patch_losses(self._predict(batch, plan), target, self.loss)
        patches = patchwise_output(per_patch, plan)
        count = patches.loss_count
        label_sum = (label_loss * plan.weight.float().sum((1, 2))).sum()
        return ObjectiveOutput(
            label_sum + self.patch_weight * patches.loss_sum,
            count,
            per_patch_loss=patches.per_patch_loss,
            terms={
                "label": (label_sum.detach(), count),
                "patch": (patches.loss_sum.detach(), count),
            },
            diagnostics={"accuracy": (logits.argmax(-1) == batch.labels).float().mean()},
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, kept ones included."""
        return self.target.to_pixels(self._predict(batch, plan), batch.images)

    def _predict(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens target_dim"]:
        encoded = self.backbone.encode_visible(batch.images, plan)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        prediction = self.decoder(encoded, plan.kept_ids.flatten(0, 1))
        return prediction.unflatten(0, plan.hidden.shape[:2])
