"""MAGE: codes in, codes out, with an encoder that sees half of the image."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
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
    TakesReplaced,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.predictors.padded_decoder import PaddedDecoder
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, TargetKind

_STD = 0.02


class MageParams(Params):
    """The decoder and the loss; the defaults are those of the paper's ViT-B."""

    decoder_depth: int = Field(default=8, ge=1, le=256)
    """Blocks of the decoder."""
    decoder_width: int = Field(default=768, ge=1)
    """Channels of the decoder: a multiple of `decoder_heads`."""
    decoder_heads: int = Field(default=16, ge=1)
    """Attention heads of the decoder."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the true class that is spread evenly over all classes."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of the embedded codes, in training."""


@objectives.register("mage", params=MageParams, paper="Li et al., 2023 (arXiv:2211.09117)")
class Mage(Objective):
    """Encodes the codes of kept patches, predicts those of hidden ones; smoothed cross-entropy.

    After LTH14/mage, models_mage.py, without the contrastive term: kept patches that the plan
    replaces enter as the mask code (row `dim` of the embedding), the decoder is padded with the
    class token's output, and logits are products with the detached code embeddings plus a bias.
    Uniform logits cost ln(classes), whatever the smoothing.

    It departs from the paper where timm's transformer takes pixels: the norm of the embedded codes
    stands before positions are added, there is no dropout inside blocks, and the patch projection,
    which training does not use, is regressed onto the normed code embedding (its gradient reaches
    nothing else and its value is not part of the loss), so that the exported encoder can be given
    images. Initial matrices are N(0, 0.02²), cut at two deviations (not verified). Raises
    ParamsError if the encoder has no class token.
    """

    mode: ClassVar[EncoderMode] = "visible"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"classes"})
    diagnostics: ClassVar[tuple[str, ...]] = ("projection_error",)

    def __init__(self, params: MageParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        if backbone.vit.cls_token is None:
            raise ParamsError(
                "name", "mage pads its decoder with a class token, which this encoder does not have"
            )
        self.smoothing, self.dropout = params.label_smoothing, params.dropout
        self.embedding = nn.Embedding(target.dim + 1, backbone.dim)
        self.embedding_norm = nn.LayerNorm(backbone.dim, eps=1e-6)
        self.decoder = PaddedDecoder(
            backbone.dim,
            num_tokens=backbone.grid[0] * backbone.grid[1],
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=params.decoder_width,
            depth=params.decoder_depth,
            num_heads=params.decoder_heads,
        )
        self.head = nn.Sequential(
            nn.Linear(params.decoder_width, backbone.dim),
            nn.GELU(),
            nn.LayerNorm(backbone.dim, eps=1e-6),
        )
        self.bias = nn.Parameter(torch.zeros(target.dim))
        self.apply(_init_matrix)

    @classmethod
    def takes_replaced(cls) -> TakesReplaced:
        """The mask code stands for them."""
        return "always"

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        codes = self.target.of(batch)
        logits = self._predict(codes, plan).float()
        per_patch = functional.cross_entropy(
            logits.movedim(-1, 1),
            codes.unsqueeze(1).expand(logits.shape[:-1]),
            reduction="none",
            label_smoothing=self.smoothing,
        )
        output = patchwise_output(per_patch, plan)
        error = self._projection_error(batch, codes)
        only_gradient = (error - error.detach()) * output.loss_count
        return ObjectiveOutput(
            output.loss_sum + only_gradient,
            output.loss_count,
            output.per_patch_loss,
            diagnostics={"projection_error": error.detach()},
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predicted codes as the target draws them."""
        logits = self._predict(self.target.of(batch), plan)
        return self.target.to_pixels(logits, batch.images)

    def _predict(
        self, codes: Int[Tensor, "batch tokens"], plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens classes"]:
        if plan.kept_ids is None:
            raise ValueError("this masking hides a different number of patches in each image")
        kept_ids = plan.kept_ids.flatten(0, 1)
        seen = codes.unsqueeze(1).expand(plan.hidden.shape).gather(2, plan.kept_ids)
        if plan.replaced is not None:
            seen = seen.masked_fill(plan.replaced, self.target.dim)
        tokens = self.embedding_norm(self.embedding(seen.flatten(0, 1)))
        tokens = functional.dropout(tokens, self.dropout, self.training)
        encoded = self.backbone.finish(self.backbone.blocks(self.backbone.embed(tokens, kept_ids)))
        decoded = self.head(self.decoder(encoded, kept_ids, plan.hidden.flatten(0, 1)))
        logits = functional.linear(decoded, self.embedding.weight[:-1].detach(), self.bias)
        return logits.unflatten(0, plan.hidden.shape[:2])

    def _projection_error(
        self, batch: Batch, codes: Int[Tensor, "batch tokens"]
    ) -> Float[Tensor, ""]:
        """Mean squared distance between projected patches and the embedding of their codes."""
        with torch.no_grad():
            embedded = self.embedding_norm(self.embedding(codes))
        return (self.backbone.patch_tokens(batch.images) - embedded).float().square().mean()


def _init_matrix(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=_STD, a=-2 * _STD, b=2 * _STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
