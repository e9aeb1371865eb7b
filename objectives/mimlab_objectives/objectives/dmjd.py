"""DMJD: hidden patches through a decoder, visible ones through a projector, in disjoint rounds."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
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
from mimlab_objectives.targets.base import Target

_TURN = 2.0
"""Where the visible loss turns from squared to absolute error (mx-mark/DMJD, models_dmjd.py)."""


class DmjdParams(DecoderParams):
    """The decoder, and the branch of visible patches; the defaults are the paper's."""

    visible_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of visible patches beside that of hidden ones."""


@objectives.register("dmjd", params=DmjdParams, paper="Ma et al., 2022 (arXiv:2301.00230)")
class Dmjd(Objective):
    """Predicts hidden patches with a decoder and visible ones with a projector.

    After mx-mark/DMJD, models_dmjd.py, on a plain vision transformer: squared error over hidden
    patches, plus smooth absolute error (β = 2) over visible ones, from three layers with
    normalisation and GELU and a linear one on the encoder's own tokens. The paper trains it under
    `disjoint` and predicts HOG; its convolutional stages are left out, and the projector's width,
    the encoder's, is not verified.
    """

    mode: ClassVar[EncoderMode] = "visible"
    terms: ClassVar[tuple[str, ...]] = ("hidden", "visible")
    patch_term: ClassVar[str | None] = "hidden"

    def __init__(self, params: DmjdParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.loss: RegressionLoss = params.loss or "mse"
        self.visible_weight = params.visible_weight
        self.decoder = decoder_of(params, backbone, target.dim)
        self.projector = _projector(backbone.dim, target.dim)
        init_as_mae(self)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        encoded = self.backbone.encode_visible(batch.images, plan)
        target = self.target.of(batch)
        hidden = patch_losses(self._decode(encoded, plan), target, self.loss)
        return with_image_term(
            patchwise_output(hidden, plan),
            plan,
            names=self.terms,
            losses=self._visible_losses(encoded, target, plan),
            weight=self.visible_weight,
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """The decoder's predictions as normalised pixels of every patch, kept ones included."""
        encoded = self.backbone.encode_visible(batch.images, plan)
        return self.target.to_pixels(self._decode(encoded, plan), batch.images)

    def _decode(
        self, encoded: Float[Tensor, "batch_rounds sequence dim"], plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens target_dim"]:
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        prediction = self.decoder(encoded, plan.kept_ids.flatten(0, 1))
        return prediction.unflatten(0, plan.hidden.shape[:2])

    def _visible_losses(
        self, encoded: Float[Tensor, "batch_rounds sequence dim"], target: Tensor, plan: MaskPlan
    ) -> Float[Tensor, " batch"]:
        """Mean over the kept patches of all rounds of an image; `target` as it is computed."""
        assert plan.kept_ids is not None
        kept = encoded[:, self.backbone.num_prefix_tokens :]
        prediction = self.projector(kept).unflatten(0, plan.hidden.shape[:2]).float()
        image = torch.arange(len(target), device=target.device)[:, None, None]
        wanted = target[image, plan.kept_ids]  # (batch, rounds, kept), or vectors of them
        if wanted.is_floating_point():
            return functional.smooth_l1_loss(prediction, wanted, beta=_TURN, reduction="none").mean(
                (1, 2, 3)
            )
        costs = functional.cross_entropy(prediction.movedim(-1, 1), wanted, reduction="none")
        return costs.mean((1, 2))


def _projector(dim: int, out_dim: int) -> nn.Sequential:
    """Three layers, the last norm without weights, and a linear one."""
    inner = [part for _ in range(2) for part in (nn.Linear(dim, dim), nn.LayerNorm(dim), nn.GELU())]
    last = [nn.Linear(dim, dim), nn.LayerNorm(dim, elementwise_affine=False)]
    return nn.Sequential(*inner, *last, nn.Linear(dim, out_dim))
