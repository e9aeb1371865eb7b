"""What the tokenizers by k-means share: the nearest code of each patch's point."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder
from mimlab_objectives.tokenizers.kmeans_codebook import KMeansParams, fit_codebook, sample
from mimlab_objectives.tokenizers.nearest import block_size, nearest
from mimlab_objectives.tokenizers.whitening import Whitening


class KMeansEncoder(PatchEncoder):
    """The nearest of `vocabulary` codes to each patch's point: exact, in float32.

    A subclass says what the point of a patch is (`points`). Points are whitened and given length 1
    where the parameters say so; the codebook lies among what comes out of that.
    """

    kind: ClassVar[EncodedKind] = "codes"

    def __init__(
        self, params: KMeansParams, grid: Grid, *, source: str, point_dim: int, size: int
    ) -> None:
        super().__init__(params, grid)
        self.kmeans = params
        self.source = source
        self.size, self.width = size, params.vocabulary
        self.fit_points = params.vocabulary * params.points_per_code
        self.whitening = Whitening(point_dim) if params.whiten else None
        self.codebook: Tensor
        self.register_buffer("codebook", torch.zeros(params.vocabulary, point_dim))

    @property
    def label(self) -> str:
        return self.kmeans.label_of(self.source)

    @abstractmethod
    def points(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens point_dim"]: ...

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Int[Tensor, "batch tokens"]:
        """Codes (int64) of every patch; images of another size than its own are resized for a
        teacher."""
        return self.codes_of(self.points(images))

    @torch.no_grad()
    def codes_of(self, points: Float[Tensor, "*patches point_dim"]) -> Int[Tensor, "*patches"]:
        """The code of each point."""
        flat = self._placed(points.flatten(0, -2))
        return nearest(flat, self.codebook).view(points.shape[:-1])

    @torch.no_grad()
    def fit(self, points: Float[Tensor, "points point_dim"], seed: int) -> None:
        """Cluster the points, or as many as `points_per_code` allows; they may lie on the host
        while the tokenizer is on a GPU. Raises ParamsError if there are fewer than codes."""
        clustered = sample(points, self.kmeans, seed)
        if self.whitening is not None:
            self.whitening.fit(points)
        if self.whitening is not None or self.kmeans.distance == "cosine":
            device, size = self.codebook.device, block_size(self.width)
            placed = [self._placed(part.to(device)) for part in clustered.split(size)]
            clustered = torch.cat([part.to(points.device) for part in placed])
        self.codebook.copy_(fit_codebook(clustered, self.kmeans, seed, device=self.codebook.device))

    def _placed(self, points: Float[Tensor, "points dim"]) -> Float[Tensor, "points dim"]:
        """Where points lie among the codes."""
        if self.whitening is not None:
            points = self.whitening(points)
        return functional.normalize(points, dim=-1) if self.kmeans.distance == "cosine" else points
