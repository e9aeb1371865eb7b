"""MFM: predict the frequencies that were removed from the image."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.frequency import SpectrumCorruption
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
from mimlab_objectives.objectives.spectrum import spectrum_distance
from mimlab_objectives.predictors.linear import LinearHead
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.targets.pixels import unpatchify


class MfmParams(Params):
    """There is nothing to choose."""


@objectives.register("mfm", params=MfmParams, paper="Xie et al., 2022 (arXiv:2206.07706)")
class Mfm(Objective):
    """Encodes filtered images, predicts whole ones; distance of the spectra where it was removed.

    After Jiahao000/MFM, models/mfm.py and models/frequency_loss.py: no mask token, a linear head,
    and the mean distance over all removed frequencies of the batch. It does not decompose over
    patches. The paper predicts raw pixels (target `pixels` with `norm: none`); initial weights are
    SimMIM's, which is not verified.
    """

    mode: ClassVar[EncoderMode] = "corrupt"
    applications: ClassVar[frozenset[Application]] = frozenset({"spectrum"})
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"pixels"})

    def __init__(self, params: MfmParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        init_as_simmim(self)
        self.head = LinearHead(backbone, target.dim)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch; it counts removed frequencies of each channel."""
        assert isinstance(plan.corruption, SpectrumCorruption)
        prediction = self._predict(batch, plan)[:, 0]
        target = self.target.of(batch)
        predicted, wanted = (
            unpatchify(patches, self.backbone.patch_size, plan.grid)
            for patches in (prediction, target)
        )
        distance = spectrum_distance(predicted, wanted)
        removed = (~plan.corruption.kept(batch.images)).expand_as(distance).float()
        return ObjectiveOutput((distance * removed).sum(), removed.sum())

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch."""
        return self.target.to_pixels(self._predict(batch, plan), batch.images)

    def _predict(self, batch: Batch, plan: MaskPlan) -> Float[Tensor, "batch 1 tokens patch_dim"]:
        assert isinstance(plan.corruption, SpectrumCorruption)
        return self.head(self.backbone.encode_all(plan.corruption.apply(batch.images)))
