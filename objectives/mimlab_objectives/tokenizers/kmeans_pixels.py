"""K-means over the pixels of each patch, as they are or whitened."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.targets.pixels import patchify
from mimlab_objectives.tokenizers.base import patch_encoders, square_side
from mimlab_objectives.tokenizers.kmeans_codebook import KMeansParams
from mimlab_objectives.tokenizers.kmeans_encoder import KMeansEncoder


class KMeansPixelParams(KMeansParams):
    """How large the patches are, and how they are clustered."""

    patch_size: int = Field(default=16, ge=1)
    """Side in pixels of the patches that it reads."""


@patch_encoders.register(
    "kmeans_pixels",
    params=KMeansPixelParams,
    paper="Coates, Ng and Lee, AISTATS 2011 (An analysis of single-layer networks)",
)
class PixelKMeans(KMeansEncoder):
    """The nearest k-means code to the normalised pixels of each patch.

    With `whiten` after Coates, Ng and Lee, but for their contrast normalisation of each patch.
    """

    def __init__(self, params: KMeansPixelParams, grid: Grid) -> None:
        side = params.patch_size
        size = square_side((grid[0] * side, grid[1] * side))
        super().__init__(
            params,
            grid,
            source="pixels",
            point_dim=3 * side**2,
            size=size,
        )
        self.patch_size = side

    @torch.no_grad()
    def points(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens point_dim"]:
        """Pixels of every patch, ordered (row, column, channel)."""
        return patchify(images.float(), self.patch_size)
