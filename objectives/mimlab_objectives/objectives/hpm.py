"""Hard patches mining: a masked autoencoder that also predicts where its own loss is high."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

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
from mimlab_objectives.objectives.initial import init_as_mae
from mimlab_objectives.objectives.losses import RegressionLoss, patch_losses
from mimlab_objectives.objectives.mae import DecoderParams, decoder_of
from mimlab_objectives.objectives.patchwise import patchwise_output, with_image_term
from mimlab_objectives.objectives.ranking import ranking_losses, standardised_losses
from mimlab_objectives.predictors.decoder import MaeDecoder
from mimlab_objectives.targets.base import Target
from mimlab_objectives.teachers.ema import EmaTeacher, linear


class HpmParams(DecoderParams):
    """Both decoders, the losses, and the teacher; the defaults are the paper's."""

    ranking: Literal["relative", "absolute"] = "relative"
    """Which of two patches has the larger loss, or how large it is within its image."""
    ranking_weight: float = Field(default=1.0, ge=0)
    """Weight of that loss beside the reconstruction's."""
    momentum: float = Field(default=0.999, ge=0, le=1)
    """Of the teacher, at the beginning."""
    momentum_end: float = Field(default=0.9999, ge=0, le=1)
    """Of the teacher, from `momentum_ramp` on."""
    momentum_ramp: float = Field(default=0.5, gt=0, le=1)
    """Share of the budget in which the momentum rises evenly: the paper's 100 of 200 epochs."""


@objectives.register(
    "hpm", params=HpmParams, paper="Wang et al., 2023 (arXiv:2304.05919)", revision=2
)
class Hpm(Objective):
    """A masked autoencoder with a second decoder that learns which patches have a high loss.

    After Haochen-Wang409/HPM, models_mae_learn_loss.py and engine_pretrain.py: the second decoder
    is as large as the first and gives one score a patch, trained against the detached losses of the
    hidden patches; its gradient reaches the encoder too. A moving average of encoder and second
    decoder sees whole images and supplies `patch_loss` to the masking, which is `hard_patches` in
    the paper, and `teacher_attention` besides. The released commands predict raw pixels (target
    `pixels` with `norm: none`). The official score is the mean of a patch's outputs, here one
    output, which is the same function; each decoder embeds the tokens by itself.
    """

    mode: ClassVar[EncoderMode] = "visible"
    supplies: ClassVar[frozenset[Signal]] = frozenset({"patch_loss", "teacher_attention"})
    terms: ClassVar[tuple[str, ...]] = ("reconstruction", "ranking")
    patch_term: ClassVar[str | None] = "reconstruction"

    def __init__(self, params: HpmParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.params = params
        self.loss: RegressionLoss = params.loss or "mse"
        self.decoder = decoder_of(params, backbone, target.dim)
        self.scorer = decoder_of(params, backbone, 1)
        init_as_mae(self)
        if params.ranking == "relative":  # one offset of all scores changes no order
            assert isinstance(self.scorer.head, nn.Linear)
            self.scorer.head.bias.requires_grad_(False)
        self.teacher_backbone = EmaTeacher(backbone)
        self.teacher_scorer = EmaTeacher(self.scorer)

    def after_init(self) -> None:
        """The teacher begins as its student."""
        self.teacher_backbone.copy_from(self.backbone)
        self.teacher_scorer.copy_from(self.scorer)

    @torch.no_grad()
    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
        """What the teacher predicts, or attends to, when it sees every patch."""
        teacher = self.teacher_backbone.module
        found: dict[Signal, Tensor] = {}
        if "patch_loss" in names:
            ids = torch.arange(math.prod(teacher.grid), device=batch.images.device)
            encoded = teacher.encode_all(batch.images)
            scores = self.teacher_scorer.module(encoded, ids.expand(len(batch), -1))
            found["patch_loss"] = scores[..., 0].float()
        if "teacher_attention" in names:
            found["teacher_attention"] = teacher.last_attention(batch.images)
        return found

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        encoded = self.backbone.encode_visible(batch.images, plan)
        prediction = self._decode(self.decoder, encoded, plan)
        losses = patch_losses(prediction, self.target.of(batch), self.loss)
        scores = self._decode(self.scorer, encoded, plan)[..., 0]
        compare = ranking_losses if self.params.ranking == "relative" else standardised_losses
        ranking = compare(scores, losses, plan.predicted).mean(1)
        return with_image_term(
            patchwise_output(losses, plan),
            plan,
            names=self.terms,
            losses=ranking,
            weight=self.params.ranking_weight,
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, kept ones included."""
        encoded = self.backbone.encode_visible(batch.images, plan)
        return self.target.to_pixels(self._decode(self.decoder, encoded, plan), batch.images)

    def after_step(self, progress: Progress) -> None:
        """Move the teacher."""
        params = self.params
        risen = min(progress.fraction / params.momentum_ramp, 1.0)
        momentum = linear(params.momentum, params.momentum_end, risen)
        self.teacher_backbone.update(self.backbone, momentum)
        self.teacher_scorer.update(self.scorer, momentum)

    def _decode(
        self,
        decoder: MaeDecoder,
        encoded: Float[Tensor, "batch_rounds sequence dim"],
        plan: MaskPlan,
    ) -> Float[Tensor, "batch rounds tokens out_dim"]:
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        return decoder(encoded, plan.kept_ids.flatten(0, 1)).unflatten(0, plan.hidden.shape[:2])
