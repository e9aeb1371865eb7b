from __future__ import annotations

import torch

from mimlab_objectives.moments import moments
from mimlab_objectives.tokenizers.whitening import EPSILON, Whitening


def correlated(count: int = 4000, dim: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(count, dim, generator=generator) @ mixing + 2


def test_whitened_points_have_the_identity_as_covariance() -> None:
    points = correlated()
    whitening = Whitening(6, epsilon=1e-9)
    whitening.fit(points)
    mean, covariance = moments(whitening(points))
    torch.testing.assert_close(mean, torch.zeros(6).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance, torch.eye(6).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(whitening.matrix, whitening.matrix.T)  # ZCA: no rotation


def test_small_variances_stay_small() -> None:
    """The closed form: a component of variance λ has λ / (λ + ε) afterwards."""
    points = correlated() * torch.tensor([1.0, 1, 1, 1, 1, 0.01])
    whitening = Whitening(6)
    whitening.fit(points)
    before, after = (torch.linalg.eigvalsh(moments(x)[1]) for x in (points, whitening(points)))
    torch.testing.assert_close(after, before / (before + EPSILON), atol=1e-4, rtol=1e-4)


def test_autocast_rounds_no_part_of_it() -> None:
    points = correlated()
    whitening = Whitening(6)
    whitening.fit(points)
    with torch.autocast("cpu", torch.bfloat16):
        found = whitening(points)
    assert torch.equal(found, whitening(points))
