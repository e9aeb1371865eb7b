"""CAE: a regressor predicts what the encoder makes of hidden patches, a decoder what they are."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan, Signal
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.losses import RegressionLoss, patch_losses
from mimlab_objectives.objectives.placed import placed_output
from mimlab_objectives.predictors.places import hidden_ids, in_place, keeping, of_places
from mimlab_objectives.predictors.query import QueryPredictor, heads_of
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target
from mimlab_objectives.teachers.latents import SPREAD, spread
from mimlab_objectives.teachers.signals import encoder_signals, evaluating


class CaeParams(Params):
    """Regressor, decoder and losses; the defaults are the paper's."""

    regressor_depth: int = Field(default=4, ge=1, le=256)
    """Blocks of the regressor, which has the encoder's channels and heads."""
    decoder_depth: int = Field(default=4, ge=1, le=256)
    """Blocks of the decoder, which has the encoder's channels and heads."""
    alignment: float = Field(default=2.0, ge=0)
    """Weight of the squared error between regressed features and the encoder's own."""
    loss: RegressionLoss | None = None
    """Of vectors; null: squared error. Classes, the paper's target, have their cross-entropy."""


@objectives.register("cae", params=CaeParams, paper="Chen et al., 2022 (arXiv:2202.03026)")
class Cae(Objective):
    """Encodes kept patches, regresses features of the hidden ones, decodes the target from those.

    After Atten4Vis/CAE, models/modeling_cae.py: queries of hidden patches attend to kept features
    and to each other's states; what they become is drawn to what the same encoder, without
    gradient, makes of the hidden patches alone, and self-attention among them gives the target. The
    paper's target is DALL-E's tokens and its masks hide 98 of 196 patches in blocks; with other
    targets this is a variant. Weights start as timm's. Raises ParamsError if the encoder's channels
    are no multiple of 4.
    """

    mode: ClassVar[EncoderMode] = "visible"
    supplies: ClassVar[frozenset[Signal]] = frozenset({"teacher_attention", "features"})
    terms: ClassVar[tuple[str, ...]] = ("prediction", "alignment")
    diagnostics: ClassVar[tuple[str, ...]] = SPREAD

    def __init__(self, params: CaeParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self._alignment = params.alignment
        self._loss: RegressionLoss = params.loss or "mse"
        backbone.set_sincos_positions()
        num_heads = heads_of(backbone)
        self.regressor = QueryPredictor(
            backbone.dim,
            backbone.dim,
            grid=backbone.grid,
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=backbone.dim,
            depth=params.regressor_depth,
            num_heads=num_heads,
            attend="cross_and_queries",
        )
        blocks = [
            Block(backbone.dim, num_heads, qkv_bias=True) for _ in range(params.decoder_depth)
        ]
        norm = nn.LayerNorm(backbone.dim, eps=1e-6)
        self.decoder = nn.Sequential(*blocks, norm, nn.Linear(backbone.dim, target.dim))

    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
        """The encoder's features and attention: it is its own teacher."""
        own = self.backbone
        return encoder_signals(names, batch.images, encoder=own, teacher=own)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        ids = hidden_ids(plan)
        regressed = self._regress(batch, plan, ids)
        latent = self.teach(batch.images, plan, ids)
        alignment = functional.mse_loss(regressed.float(), latent, reduction="none").mean(-1)
        prediction = in_place(self._decode(regressed, ids), ids, plan)
        whole = patch_losses(prediction, self.target.of(batch), self._loss)
        predicted = whole.flatten(0, 1).gather(1, ids)
        return placed_output(
            predicted + self._alignment * alignment,
            ids,
            plan,
            terms={"prediction": predicted, "alignment": alignment},
            diagnostics=spread(latent, regressed),
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions of hidden patches as normalised pixels; what was kept is not predicted."""
        ids = hidden_ids(plan)
        decoded = self._decode(self._regress(batch, plan, ids), ids)
        return self.target.to_pixels(in_place(decoded, ids, plan), batch.images)

    def teach(
        self,
        images: Float[Tensor, "batch 3 height width"],
        plan: MaskPlan,
        ids: Int[Tensor, "rows hidden"],
    ) -> Float[Tensor, "rows hidden dim"]:
        """What the encoder makes of the hidden patches `ids` alone, without gradient."""
        with evaluating(self.backbone):
            encoded = self.backbone.encode_visible(images, keeping(plan, ids))
        return encoded[:, self.backbone.num_prefix_tokens :].float()

    def _regress(
        self, batch: Batch, plan: MaskPlan, ids: Int[Tensor, "rows hidden"]
    ) -> Float[Tensor, "rows hidden dim"]:
        encoded = self.backbone.encode_visible(batch.images, plan)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        return self.regressor(encoded, plan.kept_ids.flatten(0, 1), ids)

    def _decode(
        self, regressed: Float[Tensor, "rows hidden dim"], ids: Int[Tensor, "rows hidden"]
    ) -> Float[Tensor, "rows hidden target_dim"]:
        """From regressed features alone: the decoder sees no kept patch."""
        table = self.backbone.positions().expand(len(ids), -1, -1)
        return self.decoder(regressed + of_places(table, ids))
