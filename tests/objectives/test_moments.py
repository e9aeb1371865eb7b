from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimlab_objectives.moments import moments, principal_axes


@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 10**6))
def test_moments_are_those_of_numpy(count: int, dim: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(5, 2, (count, dim)).astype(np.float32)
    mean, covariance = moments(torch.from_numpy(points))
    np.testing.assert_allclose(mean, points.astype(np.float64).mean(0), rtol=1e-9)
    expected = np.cov(points.astype(np.float64), rowvar=False, bias=True).reshape(dim, dim)
    np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-12)


def test_blocks_change_nothing() -> None:
    points = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(0))
    mean, covariance = moments(points)
    torch.testing.assert_close(mean, points.double().mean(0))
    torch.testing.assert_close(covariance, points.double().T.cov(correction=0))


def test_axes_are_the_singular_vectors_of_numpy() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
    mean, axes, variances = principal_axes(torch.from_numpy(points), 4)
    _, values, rows = np.linalg.svd(points - points.mean(0), full_matrices=False)
    np.testing.assert_allclose(variances, values[:4] ** 2 / 500, rtol=1e-9)
    np.testing.assert_allclose(np.abs(rows[:4] @ axes.numpy()), np.eye(4), atol=1e-9)
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()
    np.testing.assert_allclose(mean, points.mean(0), rtol=1e-12)
