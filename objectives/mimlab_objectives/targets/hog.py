"""Histograms of oriented gradients, as MaskFeat predicts them."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, TargetKind, targets
from mimlab_objectives.targets.hog_features import sobel, votes_of

_WINDOW, _DEVIATION = 16, 8.0
"""Side and deviation, in pixels, of the weighting that OpenMMLab's port turns on."""
_EPSILON = 1e-6
_DARK, _BRIGHT = -2.0, 2.0
"""Normalised pixels of a glyph's ground and of its line at full strength."""


class HogParams(Params):
    """What is counted, and how; the defaults are MaskFeat's."""

    bins: int = Field(default=9, ge=2)
    """Orientations, of half a turn."""
    cell: int | None = Field(default=None, ge=1)
    """Side of a cell in pixels, of which whole ones make a patch; null: half a patch."""
    pooling: Literal["sum", "mean"] = "sum"
    """Of the magnitudes in a cell: `mean` is LocalMIM's, the same after the norm."""
    whiten: bool = False
    """DMJD: central differences, and cells of mean 0 and variance 1 instead of length 1."""
    gaussian: bool = False
    """Weigh magnitudes by a Gaussian in each square of 16 px, as OpenMMLab's port does."""


@targets.register("hog", params=HogParams, paper="Wei et al., 2022 (arXiv:2112.09133)")
class HogTarget(Target):
    """Histograms of gradient directions, of each channel and cell, without block norm.

    After facebookresearch/SlowFast, slowfast/models/operators.py: Sobel gradients of the normalised
    image with reflected borders; magnitudes fall whole into the bin ⌊bins · atan2(gx, gy) / π⌋ mod
    bins, so that light on dark is dark on light; each cell of each channel has length 1.

    With `whiten` after mx-mark/DMJD; whether it standardises channels together or one by one is not
    verified: here one by one. LocalMIM's four scales (Haoqing-Wang/LocalMIM) are this with four
    values of `cell`. Numbers of a patch are ordered (row, column of cells, channel, bin). Raises
    ParamsError if cells do not tile the patch.
    """

    kind: ClassVar[TargetKind] = "vectors"

    def __init__(self, params: HogParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        cell = params.cell or max(1, patch_size // 2)
        if patch_size % cell:
            legal = ", ".join(str(n) for n in range(1, patch_size + 1) if patch_size % n == 0)
            raise ParamsError(
                "cell", f"cells of {cell} px do not tile a patch of {patch_size} px; {legal} do"
            )
        self.params, self.cell = params, cell
        self.dim = 3 * params.bins * (patch_size // cell) ** 2
        self.glyphs: Tensor
        self.register_buffer("glyphs", _glyphs(params.bins, cell), persistent=False)

    @torch.no_grad()
    def compute(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens target_dim"]:
        """Histograms of every patch, float32."""
        cells = histograms(images.float(), self.params, self.cell)
        side = self.patch_size // self.cell
        cut = cells.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        cut = cut.movedim(1, -1)  # (batch, rows, side, columns, side, channel · bin)
        return cut.transpose(2, 3).flatten(3).flatten(1, 2)

    @torch.no_grad()
    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],  # noqa: ARG002
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Glyphs: in each cell a line for each direction, as strong as its bin, in the colour of
        its channel."""
        side = self.patch_size // self.cell
        cells = prediction.float().clamp(min=0).unflatten(3, (side, side, 3, self.params.bins))
        lines = torch.einsum("nrtyxcb,bhw->nrtyhxwc", cells, self.glyphs)
        return (_DARK + (_BRIGHT - _DARK) * lines).clamp(max=_BRIGHT).flatten(3)


def histograms(
    images: Float[Tensor, "batch 3 height width"], params: HogParams, cell: int
) -> Float[Tensor, "batch channels_bins cell_rows cell_columns"]:
    """Normalised histograms of every cell, channels before bins."""
    votes = votes_of(*(_differences if params.whiten else sobel)(images), params.bins)
    if params.gaussian:
        votes = votes * _tiled_gaussian(votes)
    votes = votes.flatten(1, 2)  # (batch, channel · bin, height, width)
    cells = functional.avg_pool2d(votes, cell)
    if params.pooling == "sum":
        cells = cells * cell**2
    by_channel = cells.unflatten(1, (3, params.bins))
    if params.whiten:
        var, mean = torch.var_mean(by_channel, dim=2, correction=0, keepdim=True)
        return ((by_channel - mean) / (var + _EPSILON).sqrt()).flatten(1, 2)
    return functional.normalize(by_channel, dim=2).flatten(1, 2)


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences, zero outside the image."""
    gx = functional.pad(images, (1, 1))
    gy = functional.pad(images, (0, 0, 1, 1))
    return gx[..., 2:] - gx[..., :-2], gy[..., 2:, :] - gy[..., :-2, :]


def _tiled_gaussian(magnitude: Tensor) -> Float[Tensor, "height width"]:
    """A Gaussian of sum 1 in each square of 16 px, counted from the top left corner."""
    place = torch.arange(_WINDOW, device=magnitude.device) - (_WINDOW - 1) / 2
    bell = (-place.square() / (2 * _DEVIATION**2)).exp()
    square = torch.outer(bell, bell)
    height, width = magnitude.shape[-2:]
    rows, columns = -(-height // _WINDOW), -(-width // _WINDOW)
    return (square / square.sum()).repeat(rows, columns)[:height, :width]


def _glyphs(bins: int, cell: int) -> Float[Tensor, "bins cell cell"]:
    """For each direction a soft line through the middle of a cell, along the edge that has it."""
    place = torch.arange(cell) - (cell - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    angle = (torch.arange(bins)[:, None, None] + 0.5) * (math.pi / bins)
    across = x * angle.sin() + y * angle.cos()  # along the gradient (gx, gy) of the bin's middle
    return (-across.square() / 2 * (8 / cell) ** 2).exp()
