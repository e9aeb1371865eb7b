import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab_objectives.probes.spread import spread


def test_collapsed_features_have_no_spread_and_rank_one() -> None:
    found = spread(torch.ones(50, 8) * torch.linspace(0.5, 2, 50)[:, None])
    assert found["feature_std"] == pytest.approx(0, abs=1e-6)
    assert found["effective_rank"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("samples", "dim"), [(4000, 16), (16, 4000)])
def test_isotropic_features_fill_their_space(samples: int, dim: int) -> None:
    found = spread(torch.randn(samples, dim, generator=torch.Generator().manual_seed(0)))
    rank = min(samples, dim)
    assert found["effective_rank"] == pytest.approx(rank, rel=0.05)
    if samples > dim:
        assert found["feature_std"] == pytest.approx(1, rel=0.02)


def test_orthogonal_features_have_the_rank_of_their_number() -> None:
    features = torch.eye(12)[:5].repeat(7, 1)
    assert spread(features)["effective_rank"] == pytest.approx(5, rel=1e-3)


@given(ratio=st.floats(0.01, 1.0))
def test_two_singular_values_have_the_entropy_of_their_shares(ratio: float) -> None:
    p = 1 / (1 + ratio)
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    found = spread(torch.diag(torch.tensor([1.0, ratio])))
    assert found["effective_rank"] == pytest.approx(math.exp(entropy), rel=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100))
def test_neither_scale_nor_rotation_counts_for_the_rank(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(30, 6, generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    turned = spread(features @ rotation * scale)
    assert turned["effective_rank"] == pytest.approx(spread(features)["effective_rank"], rel=1e-4)
