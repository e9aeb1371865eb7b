"""I-JEPA: from a context, predict what a slow copy of the encoder makes of other blocks."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

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
from mimlab_objectives.predictors.places import hidden_ids, in_place, of_places
from mimlab_objectives.predictors.query import QueryPredictor, heads_of
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target
from mimlab_objectives.teachers.ema import EmaTeacher, linear
from mimlab_objectives.teachers.latents import SPREAD, smooth_l1, spread, whiten


class IJepaParams(Params):
    """Predictor and teacher; the defaults are those of the released ViT-H/14."""

    predictor_depth: int = Field(default=12, ge=1, le=256)
    """Blocks of the predictor."""
    predictor_width: int = Field(default=384, ge=4)
    """Channels of the predictor: a multiple of 4 and of its heads."""
    predictor_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the predictor; null: as many as the encoder's."""
    momentum: float = Field(default=0.996, ge=0, le=1)
    """Of the teacher at the start; it grows linearly to `momentum_end`."""
    momentum_end: float = Field(default=1.0, ge=0, le=1)
    """Of the teacher at the end."""


@objectives.register("ijepa", params=IJepaParams, paper="Assran et al., 2023 (arXiv:2301.08243)")
class IJepa(TaughtByAverage):
    """Predicts, from the kept patches, the teacher's normalised features of each target block.

    After facebookresearch/ijepa, src/train.py and src/models/vision_transformer.py: the teacher, an
    exponential average of the encoder, sees the whole image; its features are normalised over the
    channels; the predictor runs once for each block of the plan on context and mask tokens
    together; smooth L1. A plan without blocks asks for all hidden patches at once. Positions are
    fixed sine-cosine.

    It departs from the paper where this laboratory does: weight decay is constant (there .04 to .4
    along a cosine), an encoder with a class token keeps it in the context, and weights start as
    timm's. The paper uses the `multi_block` masking and neither flips nor colour changes. Raises
    ParamsError if encoder or predictor have channels that positions or heads cannot divide.
    """

    mode: ClassVar[EncoderMode] = "visible"
    diagnostics: ClassVar[tuple[str, ...]] = SPREAD

    def __init__(self, params: IJepaParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self._momenta = params.momentum, params.momentum_end
        backbone.set_sincos_positions()
        self.predictor = QueryPredictor(
            backbone.dim,
            backbone.dim,
            grid=backbone.grid,
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=params.predictor_width,
            depth=params.predictor_depth,
            num_heads=params.predictor_heads or heads_of(backbone),
            attend="joint",
        )
        self.teacher = EmaTeacher(backbone)

    def momentum(self, fraction: float) -> float:
        """Moves evenly from its first to its last value."""
        return linear(*self._momenta, fraction)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        groups = plan.groups if plan.groups is not None else hidden_ids(plan).unsqueeze(1)
        prediction = self._predict(batch, plan, groups)
        target = self.teach(batch.images)
        ids = groups.flatten(1)
        wanted = of_places(target.repeat_interleave(plan.hidden.shape[1], 0), ids)
        errors = smooth_l1(prediction, wanted, beta=1.0)
        return placed_output(errors, ids, plan, diagnostics=spread(target, prediction))

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Colours of the predicted features of all hidden patches, asked for together."""
        ids = hidden_ids(plan)
        predicted = in_place(self._predict(batch, plan, ids.unsqueeze(1)), ids, plan)
        return feature_pixels(predicted, plan.hidden, self.backbone.patch_size)

    @torch.no_grad()
    def teach(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The teacher's features of each patch of whole images: mean 0, variance 1 a token."""
        encoded = self.teacher.module.encode_all(images)
        return whiten(encoded[:, self.backbone.num_prefix_tokens :])

    def _predict(
        self, batch: Batch, plan: MaskPlan, groups: Int[Tensor, "rows groups size"]
    ) -> Float[Tensor, "rows places dim"]:
        """Each group is predicted by itself: `places` is groups · size."""
        encoded = self.backbone.encode_visible(batch.images, plan)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        rows, num = groups.shape[:2]
        prediction = self.predictor(
            encoded.repeat_interleave(num, 0),
            plan.kept_ids.flatten(0, 1).repeat_interleave(num, 0),
            groups.flatten(0, 1),
        )
        return prediction.unflatten(0, (rows, num)).flatten(1, 2)
