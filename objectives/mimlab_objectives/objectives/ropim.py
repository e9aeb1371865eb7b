"""ROPIM: restore what a random projection over the tokens has removed."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import Application, MaskPlan
from mimlab_objectives.masking.projection import Projection
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.initial import init_as_simmim
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.predictors.linear import LinearHead
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind


class RopimParams(Params):
    """There is nothing to choose."""


@objectives.register("ropim", params=RopimParams, paper="Haghighat et al., ICLR 2024")
class Ropim(Objective):
    """Encodes projected patch embeddings; absolute error of what the projection has removed.

    After csiro-robotics/ROPIM, models/ropim.py: P mixes embeddings before positions are added,
    there is no mask token, the head is linear, and the residual of all patches is multiplied by
    I − P over the tokens before its absolute value is averaged over everything. The paper predicts
    raw pixels (target `pixels` with `norm: none`); initial weights are SimMIM's.
    """

    mode: ClassVar[EncoderMode] = "corrupt"
    applications: ClassVar[frozenset[Application]] = frozenset({"projection"})
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"pixels", "vectors"})

    def __init__(self, params: RopimParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        init_as_simmim(self)
        self.head = LinearHead(backbone, target.dim)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch."""
        assert isinstance(plan.corruption, Projection)
        prediction = self._predict(batch, plan)[:, 0].float()
        target = self.target.of(batch)
        removed = plan.corruption.removed(target - prediction)
        return patchwise_output(removed.abs().mean(-1)[:, None], plan)

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch."""
        return self.target.to_pixels(self._predict(batch, plan), batch.images)

    def _predict(self, batch: Batch, plan: MaskPlan) -> Float[Tensor, "batch 1 tokens target_dim"]:
        assert isinstance(plan.corruption, Projection)
        backbone = self.backbone
        tokens = plan.corruption.apply(backbone.patch_tokens(batch.images))
        return self.head(backbone.finish(backbone.blocks(backbone.embed(tokens))))
