"""LocalMIM: every depth of the encoder predicts gradients of its own scale."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from timm.layers.norm import LayerNorm2d
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
    weighted_sum,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.predictors.decoder import MaeDecoder
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.targets.hog_features import cell_histograms, glyphs, orientation_votes

SCALES = (4.0, 2.0, 1.0, 0.5)
"""Cells for each patch side, from the shallowest tap to the deepest: 4, 8, 16 and 32 px cells of
16 px patches."""
_OWN_SIZE = SCALES.index(1.0)


class LocalMimParams(Params):
    """Where the encoder is tapped, and the decoders; the defaults are the paper's."""

    taps: tuple[int, int, int, int] | None = None
    """Blocks after which gradients are predicted, counted from 1, the last one the encoder's last;
    null: 2, 4, depth − 2 and depth, or even steps in an encoder of fewer than 7 blocks."""
    decoder_width: int = Field(default=256, ge=4)
    """Channels of each decoder: a multiple of 4 and of `decoder_heads`."""
    decoder_heads: int = Field(default=8, ge=1)
    """Attention heads of each decoder's one block."""
    bins: int = Field(default=9, ge=2)
    """Orientations of a histogram."""


@objectives.register(
    "localmim", params=LocalMimParams, paper="Wang et al., 2023 (arXiv:2303.05251)"
)
class LocalMim(Objective):
    """Encodes the kept patches; four small decoders predict HOG at four scales from four depths.

    After Haoqing-Wang/LocalMIM: each tap has a norm, one decoder block, transposed convolutions or
    an average to its grid, and a 1 × 1 convolution; squared error over the numbers of a cell,
    weighted by the mask at that grid (the average of 2 × 2 patches in the coarsest), taps added.
    Weights of a finer or coarser mask sum to the patches' own times the cells of a patch, so the
    loss is the mean over patches of the errors in their cells.

    The norm of the last tap is the encoder's own, which timm applies. Not verified: channels
    between the ×2 convolution and the head (half the width here). Raises ParamsError for taps that
    are not four ascending blocks, patches that 4 does not divide, grids that 2 does not divide.
    """

    mode: ClassVar[EncoderMode] = "visible"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"latent"})
    terms: ClassVar[tuple[str, ...]] = tuple(f"tap_{number}" for number in range(1, 5))

    def __init__(self, params: LocalMimParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.taps = _taps(params.taps, len(backbone.blocks))
        self.bins = params.bins
        _refuse_uneven(backbone)
        norms = [nn.LayerNorm(backbone.dim, eps=1e-6) for _ in SCALES[:-1]]
        self.norms = nn.ModuleList([*norms, backbone.vit.norm])
        self.decoders = nn.ModuleList([_decoder(params, backbone) for _ in SCALES])
        outputs = 3 * params.bins
        self.heads = nn.ModuleList([_head(s, params.decoder_width, outputs) for s in SCALES])

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        predictions = self._predict(batch, plan)
        with torch.no_grad():
            votes = orientation_votes(batch.images, self.bins)
        losses = []
        for scale, prediction in zip(SCALES, predictions, strict=True):
            target = cell_histograms(votes, round(self.backbone.patch_size / scale))
            error = (prediction.float() - target.unsqueeze(1)).square().mean(-1)
            losses.append(_of_patches(error, scale))
        output = patchwise_output(torch.stack(losses).sum(0), plan)
        parts = [weighted_sum(loss.detach(), plan) for loss in losses]
        return ObjectiveOutput(
            output.loss_sum,
            output.loss_count,
            output.per_patch_loss,
            terms=dict(zip(self.terms, parts, strict=True)),
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Strokes along the edges that are predicted at the patches' own scale."""
        histograms = self._predict(batch, plan)[_OWN_SIZE].flatten(2, 3)
        pictures = 4 * glyphs(histograms, self.backbone.patch_size, self.bins) - 2
        return pictures[..., None].expand(*pictures.shape, 3).flatten(-3)

    def _predict(
        self, batch: Batch, plan: MaskPlan
    ) -> list[Float[Tensor, "batch rounds rows columns channel_bins"]]:
        """Histograms of every cell, one tensor for each scale."""
        sequence = self.backbone.embed_visible(batch.images, plan)
        assert plan.kept_ids is not None  # embed_visible refuses other plans
        kept_ids, found = plan.kept_ids.flatten(0, 1), []
        for number, block in enumerate(self.backbone.blocks, start=1):
            sequence = block(sequence)
            if number in self.taps:
                tap = len(found)
                decoded = self.decoders[tap](self.norms[tap](sequence), kept_ids)
                cells = self.heads[tap](decoded.mT.unflatten(2, plan.grid))
                found.append(cells.permute(0, 2, 3, 1).unflatten(0, plan.hidden.shape[:2]))
        return found


def _taps(asked: tuple[int, int, int, int] | None, depth: int) -> tuple[int, ...]:
    if depth < len(SCALES):
        raise ParamsError(
            "depth", f"localmim taps four blocks of the encoder; it has {depth}, take 4 or more"
        )
    if asked is None:
        even = [depth * number // len(SCALES) for number in range(1, len(SCALES) + 1)]
        return (2, 4, depth - 2, depth) if depth > 6 else tuple(even)
    if asked[0] < 1 or asked[-1] != depth or any(a >= b for a, b in pairwise(asked)):
        raise ParamsError(
            "taps", f"{list(asked)} are not four ascending blocks of which {depth} is the last"
        )
    return asked


def _refuse_uneven(backbone: VitBackbone) -> None:
    if backbone.patch_size % 4:
        size = backbone.patch_size
        raise ParamsError("patch_size", f"localmim cuts patches into 4 × 4 cells; {size} px do not")
    if any(side % 2 for side in backbone.grid):
        rows, columns = backbone.grid
        raise ParamsError(
            "image_size", f"localmim joins 2 × 2 patches; {rows} × {columns} patches are odd"
        )


def _decoder(params: LocalMimParams, backbone: VitBackbone) -> MaeDecoder:
    decoder = MaeDecoder(
        backbone.dim,
        None,
        grid=backbone.grid,
        num_prefix_tokens=backbone.num_prefix_tokens,
        width=params.decoder_width,
        depth=1,
        num_heads=params.decoder_heads,
    )
    nn.init.normal_(decoder.mask_token, std=0.02)
    return decoder


def _head(scale: float, width: int, outputs: int) -> nn.Sequential:
    """From the grid of patches to that of cells, then to a cell's numbers."""
    up: list[nn.Module] = []
    if scale < 1:
        up = [nn.AvgPool2d(2)]
    while scale > 1:
        up += [LayerNorm2d(width), nn.GELU()] if up else []
        up.append(nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2))
        width, scale = width // 2, scale / 2
    return nn.Sequential(*up, nn.Conv2d(width, outputs, kernel_size=1))


def _of_patches(
    error: Float[Tensor, "batch rounds rows columns"], scale: float
) -> Float[Tensor, "batch rounds tokens"]:
    """The mean error of each patch's cells, or that of the cell in which it lies."""
    if scale >= 1:
        return functional.avg_pool2d(error, round(scale)).flatten(2)
    factor = round(1 / scale)
    return error.repeat_interleave(factor, 2).repeat_interleave(factor, 3).flatten(2)
