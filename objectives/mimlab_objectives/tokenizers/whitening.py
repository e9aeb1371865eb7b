"""Whitening: points whose components have variance 1 and no correlation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mimlab_objectives.moments import moments
from mimlab_objectives.tokenizers.precision import full_precision

EPSILON = 0.1
"""Added to the variance of each principal component (Coates, Ng and Lee, AISTATS 2011), which keeps
the noise of the smallest ones small; points should have variances near 1."""


class Whitening(nn.Module):
    """(x − mean) · U (Λ + ε)^(−½) Uᵀ, with UΛUᵀ the covariance of the points (ZCA).

    PCA whitening, without the last factor, is a rotation of it: distances and angles, and so all
    codes, are the same.
    """

    def __init__(self, dim: int, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.mean: Tensor
        self.matrix: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("matrix", torch.eye(dim))

    @torch.no_grad()
    def fit(self, points: Float[Tensor, "points dim"]) -> None:
        """Find mean and covariance of the points."""
        mean, covariance = moments(points, device=self.mean.device)
        variances, vectors = torch.linalg.eigh(covariance)
        scales = (variances.clamp(min=0) + self.epsilon).rsqrt()
        self.mean.copy_(mean)
        self.matrix.copy_((vectors * scales) @ vectors.T)

    @torch.no_grad()
    def forward(self, points: Float[Tensor, "*points dim"]) -> Float[Tensor, "*points dim"]:
        """Whitened points, float32."""
        with full_precision(points.device):
            return (points.float() - self.mean) @ self.matrix
