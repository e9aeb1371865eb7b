"""A tokenizer that mimlab knows nothing of: k-means over the pixels of patches."""

from __future__ import annotations

import time
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import bits
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.pixels import patchify
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder, patch_encoders

ROUNDS = 3


class PatchKMeansParams(Params):
    vocabulary: int = Field(default=8, ge=2)
    """Number of codes."""
    points_per_code: int = Field(default=32, ge=1)
    """Patches that are clustered for each of them."""
    pause_s: float = Field(default=0.0, ge=0)
    """Seconds that a batch takes besides."""


@patch_encoders.register("patch_kmeans", params=PatchKMeansParams, paper="none: an example")
class PatchKMeans(PatchEncoder):
    """The nearest of a few mean patches."""

    kind: ClassVar[EncodedKind] = "codes"
    codebook: Tensor

    def __init__(self, params: PatchKMeansParams, grid: Grid) -> None:
        super().__init__(params, grid)
        if grid[0] != grid[1]:
            raise ParamsError("vocabulary", "these codes are of square grids")
        self.settings, self.patch_size = params, 4
        self.size, self.width = self.patch_size * grid[0], params.vocabulary
        self.fit_points = params.vocabulary * params.points_per_code
        self.register_buffer("codebook", torch.zeros(self.width, 3 * self.patch_size**2))

    @property
    def label(self) -> str:
        return f"patch-kmeans-{self.width}"

    def points(self, images: Tensor) -> Tensor:
        time.sleep(self.settings.pause_s)
        return patchify(images, self.patch_size)

    @torch.no_grad()
    def fit(self, points: Tensor, seed: int) -> None:
        draws = bits(torch.tensor([seed]), len(points))[0]
        self.codebook.copy_(points[draws.argsort()[: self.width]])
        for _ in range(ROUNDS):
            codes = self.nearest(points)
            for code in codes.unique():
                self.codebook[code] = points[codes == code].mean(0)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        return self.nearest(patchify(images, self.patch_size))

    def nearest(self, points: Tensor) -> Tensor:
        return torch.cdist(points, self.codebook).argmin(-1)


class ColoursParams(Params):
    """No parameters."""


@patch_encoders.register("mean_colour", params=ColoursParams, paper="none: an example")
class MeanColour(PatchEncoder):
    """The mean colour of each patch, which takes no learning."""

    kind: ClassVar[EncodedKind] = "features"

    def __init__(self, params: ColoursParams, grid: Grid) -> None:
        super().__init__(params, grid)
        self.size, self.width = 4 * grid[0], 3

    @property
    def label(self) -> str:
        return "mean-colour"

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        return patchify(images, 4).unflatten(2, (16, 3)).mean(2)
