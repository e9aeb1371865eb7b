"""Latent MIM: tell the hidden patches of an image apart by their predicted features."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.pictures import feature_pixels
from mimlab_objectives.objectives.placed import placed_output
from mimlab_objectives.objectives.taught import TaughtByAverage
from mimlab_objectives.predictors.places import hidden_ids, in_place, keeping
from mimlab_objectives.predictors.query import QueryPredictor
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target
from mimlab_objectives.teachers.ema import EmaTeacher, cosine
from mimlab_objectives.teachers.latents import SPREAD, spread

_EPSILON = 1e-4  # yibingwei-1/LatentMIM: models_lmim.py: beside the deviation


class LatentMimParams(Params):
    """Head, decoder, loss and teacher; the defaults are the paper's for ViT-B."""

    head_width: int = Field(default=4096, ge=1)
    """Hidden channels of the three-layer head of encoder and teacher."""
    decoder_depth: int = Field(default=3, ge=1, le=256)
    """Blocks of the decoder."""
    decoder_width: int = Field(default=512, ge=4)
    """Channels of the decoder: a multiple of 4 and of `decoder_heads`."""
    decoder_heads: int = Field(default=16, ge=1)
    """Attention heads of the decoder."""
    temperature: float = Field(default=0.2, gt=0)
    """Of the softmax over the hidden patches of an image."""
    momentum: float = Field(default=0.99, ge=0, le=1)
    """Of the teacher at the start; it grows to 1 along a cosine."""


@objectives.register(
    "latent_mim", params=LatentMimParams, paper="Wei et al., 2024 (arXiv:2407.15837)"
)
class LatentMim(TaughtByAverage):
    """Finds each hidden patch's own features among those of all hidden patches of its image.

    After yibingwei-1/LatentMIM, models_lmim.py: encoder and head see the kept patches, their
    exponential average sees the hidden ones alone; queries start from the kept tokens near them,
    look at each other and at the kept tokens; predictions are standardised over the patches of an
    image, both sides have length 1, and the cross-entropy at temperature τ is multiplied by 2τ. The
    paper keeps 20 of 196 patches.

    Left out: cells with a random gap between patches, and the penalty on similar predictions of the
    long schedule. Unverified: positions are compared as attention does (product ÷ √channels).
    Raises ParamsError if encoder or decoder have channels that positions or heads cannot divide.
    """

    mode: ClassVar[EncoderMode] = "visible"
    loss_scope: ClassVar[Literal["patch", "image", "batch"]] = "image"
    diagnostics: ClassVar[tuple[str, ...]] = SPREAD

    def __init__(self, params: LatentMimParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self._temperature, self._momentum = params.temperature, params.momentum
        backbone.set_sincos_positions()
        self.head = LatentHead(backbone.dim, params.head_width)
        self.predictor = QueryPredictor(
            backbone.dim,
            backbone.dim,
            grid=backbone.grid,
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=params.decoder_width,
            depth=params.decoder_depth,
            num_heads=params.decoder_heads,
            attend="self_cross",
            from_kept=True,
            field="decoder",
        )
        nn.init.zeros_(self.predictor.mask_token)
        self.teacher = EmaTeacher(backbone)
        self.teacher_head = EmaTeacher(self.head)

    def momentum(self, fraction: float) -> float:
        """Rises to 1 along half a cosine."""
        return cosine(self._momentum, 1.0, fraction)

    def after_init(self) -> None:
        """The teacher's head starts as the encoder's does, too."""
        super().after_init()
        self.teacher_head.copy_from(self.head)

    def after_step(self, progress: Progress) -> None:
        """The teacher's head follows, too."""
        super().after_step(progress)
        self.teacher_head.update(self.head, self.momentum(progress.fraction))

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        ids = hidden_ids(plan)
        prediction = self._predict(batch, plan, ids)
        target = self.teach(batch.images, plan, ids)
        errors = patch_contrast(prediction, target, self._temperature)
        return placed_output(errors, ids, plan, diagnostics=spread(target, prediction))

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Colours of the predicted features."""
        ids = hidden_ids(plan)
        predicted = in_place(self._predict(batch, plan, ids), ids, plan)
        return feature_pixels(predicted, plan.hidden, self.backbone.patch_size)

    @torch.no_grad()
    def teach(
        self,
        images: Float[Tensor, "batch 3 height width"],
        plan: MaskPlan,
        ids: Int[Tensor, "rows hidden"],
    ) -> Float[Tensor, "rows hidden dim"]:
        """What the teacher makes of the hidden patches `ids` alone."""
        encoded = self.teacher.module.encode_visible(images, keeping(plan, ids))
        return self.teacher_head.module(encoded[:, self.backbone.num_prefix_tokens :]).float()

    def _predict(
        self, batch: Batch, plan: MaskPlan, ids: Int[Tensor, "rows hidden"]
    ) -> Float[Tensor, "rows hidden dim"]:
        latents = self.head(self.backbone.encode_visible(batch.images, plan))
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        return self.predictor(latents, plan.kept_ids.flatten(0, 1), ids)


class LatentHead(nn.Sequential):
    """Three layers without biases: twice a wide one with norm and GELU, then the output's norm."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(
            nn.Linear(dim, width, bias=False),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Linear(width, width, bias=False),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Linear(width, dim, bias=False),
            nn.LayerNorm(dim, bias=False),
        )


def patch_contrast(
    prediction: Float[Tensor, "rows patches dim"],
    target: Float[Tensor, "rows patches dim"],
    temperature: float,
) -> Float[Tensor, "rows patches"]:
    """2τ times the cross-entropy of finding each patch's own target among those of its row.

    Random features cost 2τ · ln(patches). Predictions are standardised over the patches, channel by
    channel; both sides are given length 1.
    """
    prediction, target = prediction.float(), target.float()
    patches = prediction.shape[1]
    centred = prediction - prediction.sum(1, keepdim=True) / max(patches, 1)
    var = centred.square().sum(1, keepdim=True) / max(patches - 1, 1)
    # A single patch has no variance, where a root has no gradient.
    centred = centred / ((var + 1e-12).sqrt() + _EPSILON)
    similarity = functional.normalize(centred, dim=-1) @ functional.normalize(target, dim=-1).mT
    chance = (similarity.float() / temperature).log_softmax(-1)
    return -2 * temperature * chance.diagonal(dim1=1, dim2=2)
