"""data2vec on images: predict the average of the teacher's last blocks from a masked view."""

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
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.objectives.pictures import feature_pixels
from mimlab_objectives.objectives.taught import TaughtByAverage
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target
from mimlab_objectives.teachers.ema import EmaTeacher, linear
from mimlab_objectives.teachers.latents import SPREAD, smooth_l1, spread, whiten

_PAPERS_LAYERS = 6


class Data2VecParams(Params):
    """Teacher and loss; the defaults are those of the released ViT-B."""

    target_layers: int | None = Field(default=None, ge=1)
    """Last blocks of the teacher that are averaged; null: six, or all of a shallower encoder."""
    momentum: float = Field(default=0.9998, ge=0, le=1)
    """Of the teacher at the start; it moves linearly to `momentum_end`. A short training needs a
    smaller one: at 0.9998 the teacher forgets its random start in some 15,000 steps."""
    momentum_end: float = Field(default=0.9998, ge=0, le=1)
    """Of the teacher at the end."""
    beta: float = Field(default=2.0, gt=0)
    """Error at which the loss turns from squared to absolute."""


@objectives.register(
    "data2vec", params=Data2VecParams, paper="Baevski et al., 2022 (arXiv:2202.03555)"
)
class Data2Vec(TaughtByAverage):
    """Encodes all positions, hidden ones as a mask token; predicts a teacher's averaged blocks.

    After facebookresearch/data2vec_vision, beit/engine_for_cyclical.py and beit/README.md: the
    teacher, an exponential average of the student, sees the whole image; the outputs of its last
    blocks (before the final norm) are normalised over the channels, averaged, and normalised again;
    one linear layer predicts them at hidden patches; smooth L1. The paper hides 120 of 196 patches
    in blocks and has LayerScale and a relative position bias that plain timm transformers lack.
    Raises ParamsError if the encoder has fewer blocks than `target_layers`.
    """

    mode: ClassVar[EncoderMode] = "full"
    diagnostics: ClassVar[tuple[str, ...]] = SPREAD

    def __init__(self, params: Data2VecParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        depth = len(backbone.blocks)
        if (params.target_layers or 1) > depth:
            raise ParamsError(
                "target_layers", f"the encoder has {depth} blocks, not {params.target_layers}"
            )
        self._skipped = depth - (params.target_layers or min(_PAPERS_LAYERS, depth))
        self._momenta = params.momentum, params.momentum_end
        self._beta = params.beta
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.head = nn.Linear(backbone.dim, backbone.dim)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.teacher = EmaTeacher(backbone)

    def momentum(self, fraction: float) -> float:
        """Moves evenly from its first to its last value."""
        return linear(*self._momenta, fraction)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch; any number of hidden patches in each image."""
        prediction = self._predict(batch, plan)
        target = self.teach(batch.images)
        wanted = target.unsqueeze(1).expand_as(prediction)
        return patchwise_output(
            smooth_l1(prediction, wanted, self._beta),
            plan,
            diagnostics=spread(target, prediction.flatten(0, 1)),
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Colours of the predicted features."""
        return feature_pixels(self._predict(batch, plan), plan.hidden, self.backbone.patch_size)

    @torch.no_grad()
    def teach(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The teacher's features of each patch of whole images: mean 0, variance 1 a token."""
        teacher = self.teacher.module
        sequence = teacher.embed(teacher.patch_tokens(images))
        layers: list[Tensor] = []
        for number, block in enumerate(teacher.blocks):
            sequence = block(sequence)
            if number >= self._skipped:
                layers.append(whiten(sequence[:, teacher.num_prefix_tokens :]))
        return whiten(torch.stack(layers).mean(0))

    def _predict(self, batch: Batch, plan: MaskPlan) -> Float[Tensor, "batch rounds tokens dim"]:
        encoded = self.backbone.encode_full(batch.images, plan, self.mask_token)
        prediction = self.head(encoded[:, self.backbone.num_prefix_tokens :])
        return prediction.unflatten(0, plan.hidden.shape[:2])
