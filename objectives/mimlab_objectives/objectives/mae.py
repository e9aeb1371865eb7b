"""Masked autoencoder: encode what is kept, decode what is hidden."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    TakesReplaced,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.initial import init_as_mae
from mimlab_objectives.objectives.losses import RegressionLoss, patch_losses
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.predictors.decoder import MaeDecoder
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target


class DecoderParams(Params):
    """The decoder; the defaults are MAE's."""

    decoder_depth: int = Field(default=8, ge=1, le=256)
    """Blocks of the decoder."""
    decoder_width: int = Field(default=512, ge=4)
    """Channels of the decoder: a multiple of 4 and of `decoder_heads`."""
    decoder_heads: int = Field(default=16, ge=1)
    """Attention heads of the decoder."""
    loss: RegressionLoss | None = None
    """Of vectors; null: squared error, the paper's. Classes have their cross-entropy."""


class MaeParams(DecoderParams):
    """The decoder, and whether the encoder has a mask token, too."""

    encoder_mask_token: bool | None = None
    """true: a mask token in the encoder, for maskings that cover kept patches; null: none."""


@objectives.register("mae", params=MaeParams, paper="He et al., 2022 (arXiv:2111.06377)")
class Mae(Objective):
    """Encodes the kept patches, predicts the hidden ones with a small decoder; squared error.

    After facebookresearch/mae, models_mae.py: fixed sine-cosine positions in encoder and decoder,
    Xavier-uniform matrices (the patch projection as a matrix), tokens N(0, 0.02²); the squared
    error is averaged inside a patch, then over predicted patches of the whole batch. Raises
    ParamsError if encoder or decoder have channels that positions or heads cannot divide.
    """

    mode: ClassVar[EncoderMode] = "visible"

    def __init__(self, params: MaeParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.loss: RegressionLoss = params.loss or "mse"
        self.mask_token: nn.Parameter | None = None
        if params.encoder_mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        self.decoder = decoder_of(params, backbone, target.dim)
        init_as_mae(self)

    @classmethod
    def takes_replaced(cls) -> TakesReplaced:
        """Where `encoder_mask_token` gives the encoder a token."""
        return "if asked"

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
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
        encoded = self.backbone.encode_visible(batch.images, plan, self.mask_token)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        prediction = self.decoder(encoded, plan.kept_ids.flatten(0, 1))
        return prediction.unflatten(0, plan.hidden.shape[:2])


def decoder_of(params: DecoderParams, backbone: VitBackbone, out_dim: int) -> MaeDecoder:
    """MAE's decoder for an encoder. Raises ParamsError if its heads do not divide its width."""
    return MaeDecoder(
        backbone.dim,
        out_dim,
        grid=backbone.grid,
        num_prefix_tokens=backbone.num_prefix_tokens,
        width=params.decoder_width,
        depth=params.decoder_depth,
        num_heads=params.decoder_heads,
    )
