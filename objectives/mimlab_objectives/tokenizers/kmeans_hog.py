"""K-means over histograms of oriented gradients of each patch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.hog import HogParams, HogTarget
from mimlab_objectives.tokenizers.base import patch_encoders, square_side
from mimlab_objectives.tokenizers.kmeans_codebook import KMeansParams
from mimlab_objectives.tokenizers.kmeans_encoder import KMeansEncoder


class KMeansHogParams(KMeansParams):
    """What is counted in patches of which size, and how histograms are clustered."""

    patch_size: int = Field(default=16, ge=1)
    """Side in pixels of the patches that it reads."""
    hog: HogParams = HogParams()
    """The histograms; the defaults are MaskFeat's."""


@patch_encoders.register(
    "kmeans_hog", params=KMeansHogParams, paper="Wei et al., 2022 (arXiv:2112.09133)"
)
class HogKMeans(KMeansEncoder):
    """The nearest k-means code to each patch's HOG, which is that of the target `hog`.

    Raises ParamsError if cells do not tile the patch.
    """

    def __init__(self, params: KMeansHogParams, grid: Grid) -> None:
        side = params.patch_size
        try:
            hog = HogTarget(params.hog, side, grid)
        except ParamsError as error:
            raise ParamsError(f"hog.{error.field}", str(error)) from error
        size = square_side((grid[0] * side, grid[1] * side))
        super().__init__(
            params,
            grid,
            source="hog",
            point_dim=hog.dim,
            size=size,
        )
        self.hog = hog

    @torch.no_grad()
    def points(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens point_dim"]:
        """Histograms of every patch."""
        return self.hog.compute(images)
