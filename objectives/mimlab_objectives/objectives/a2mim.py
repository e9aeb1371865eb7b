"""A2MIM on a vision transformer: SimMIM with mean-coloured cells and a loss on the spectrum."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.pixel_corruption import PixelCorruption
from mimlab_objectives.masking.plan import Application, MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.initial import init_as_simmim
from mimlab_objectives.objectives.patchwise import patchwise_output, with_image_term
from mimlab_objectives.objectives.pixelwise import changed_pixel_losses
from mimlab_objectives.objectives.spectrum import focal_frequency_losses
from mimlab_objectives.predictors.linear import LinearHead
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.targets.pixels import unpatchify


class A2MimParams(Params):
    """The loss; the head is one linear layer."""

    frequency_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss on the spectrum; the paper's for transformers."""


@objectives.register("a2mim", params=A2MimParams, paper="Li et al., 2022 (arXiv:2205.13943)")
class A2Mim(Objective):
    """Restores degraded patches from their mean colour, in pixels and in the spectrum.

    After Westlake-AI/openmixup, models/backbones/mim_vit.py and models/heads/mim_head.py, layer 0
    of a transformer: a learned token is added to the embeddings of hidden patches; absolute error
    over degraded pixels plus the focal frequency loss, in which clean pixels of the prediction are
    half their own, without gradient, and half the target. The paper predicts raw pixels (target
    `pixels` with `norm: none`) under `mean_fill`; initial weights are SimMIM's.

    The official code averages spectra over the batch and divides by the largest weight of the
    batch; here every image has its own, so that its loss does not depend on its company and
    micro-batches add up.
    """

    mode: ClassVar[EncoderMode] = "corrupt"
    applications: ClassVar[frozenset[Application]] = frozenset({"pixels"})
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"pixels"})
    terms: ClassVar[tuple[str, ...]] = ("pixels", "frequency")
    patch_term: ClassVar[str | None] = "pixels"

    def __init__(self, params: A2MimParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.frequency_weight = params.frequency_weight
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        init_as_simmim(self)
        self.head = LinearHead(backbone, target.dim)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch: the mean over degraded pixels, plus that of the spectra."""
        assert isinstance(plan.corruption, PixelCorruption)
        prediction = self._predict(batch, plan)
        target = self.target.of(batch)
        changed = plan.corruption.changed(batch.images)
        size = self.backbone.patch_size
        pixels = patchwise_output(changed_pixel_losses(prediction, target, changed, size), plan)
        predicted, wanted = (unpatchify(p, size, plan.grid) for p in (prediction[:, 0], target))
        mixed = (predicted.detach() + wanted) / 2
        frequency = focal_frequency_losses(torch.where(changed, predicted, mixed), wanted)
        return with_image_term(
            pixels, plan, names=self.terms, losses=frequency, weight=self.frequency_weight
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, clean ones included."""
        return self.target.to_pixels(self._predict(batch, plan), batch.images)

    def _predict(self, batch: Batch, plan: MaskPlan) -> Float[Tensor, "batch 1 tokens patch_dim"]:
        assert isinstance(plan.corruption, PixelCorruption)
        backbone = self.backbone
        tokens = backbone.patch_tokens(plan.corruption.apply(batch.images))
        tokens = tokens + self.mask_token * plan.hidden[:, 0, :, None]
        return self.head(backbone.finish(backbone.blocks(backbone.embed(tokens))))
