"""GMML: restore degraded groups of pixels from a mixture of the encoder's later blocks."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
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
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.objectives.pixelwise import changed_pixel_losses
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind

_TAPS = (6, 8, 10, 12)
"""Blocks, of twelve, whose outputs are averaged (Sara-Ahmed/GMML, main.py)."""


class GmmlParams(Params):
    """There is nothing to choose."""


@objectives.register("gmml", params=GmmlParams, paper="Atito et al., 2022 (arXiv:2205.14986)")
class Gmml(Objective):
    """Encodes images with degraded groups of pixels, restores those pixels; absolute error.

    After Sara-Ahmed/GMML: the encoder sees every patch and no mask token; the outputs of blocks 6,
    8, 10 and 12 of twelve (the same shares of another depth) are averaged; three linear layers with
    GELU and one to pixels. The paper predicts raw pixels (target `pixels` with `norm: none`) of two
    crops of an image; here there is one. The final norm is applied to the average; the widths of
    the head, the encoder's, and the initial weights, SimMIM's, are not verified.
    """

    mode: ClassVar[EncoderMode] = "corrupt"
    applications: ClassVar[frozenset[Application]] = frozenset({"pixels"})
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"pixels"})

    def __init__(self, params: GmmlParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        init_as_simmim(self)
        depth, dim = len(backbone.blocks), backbone.dim
        self.taps = {max(1, round(tap * depth / _TAPS[-1])) for tap in _TAPS}
        layers = [part for _ in range(3) for part in (nn.Linear(dim, dim), nn.GELU())]
        self.head = nn.Sequential(*layers, nn.Linear(dim, target.dim))

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch: the mean over degraded pixels."""
        assert isinstance(plan.corruption, PixelCorruption)
        changed = plan.corruption.changed(batch.images)
        target = self.target.of(batch)
        losses = changed_pixel_losses(
            self._predict(batch, plan), target, changed, self.backbone.patch_size
        )
        return patchwise_output(losses, plan)

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, clean ones included."""
        return self.target.to_pixels(self._predict(batch, plan), batch.images)

    def _predict(self, batch: Batch, plan: MaskPlan) -> Float[Tensor, "batch 1 tokens patch_dim"]:
        assert isinstance(plan.corruption, PixelCorruption)
        backbone = self.backbone
        sequence = backbone.embed(backbone.patch_tokens(plan.corruption.apply(batch.images)))
        tapped = []
        for number, block in enumerate(backbone.blocks, start=1):
            sequence = block(sequence)
            if number in self.taps:
                tapped.append(sequence)
        mixed = backbone.finish(torch.stack(tapped).mean(0))
        return self.head(mixed[:, backbone.num_prefix_tokens :])[:, None]
