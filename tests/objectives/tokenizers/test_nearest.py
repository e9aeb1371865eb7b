"""Nearest codes, and what is summed over them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from mimlab_objectives.tokenizers.nearest import assign, nearest, sum_by_code


def test_distance_and_angle_choose_other_codes() -> None:
    codebook, point = torch.tensor([[1.0, 0.0], [3.0, 1.0]]), torch.tensor([[3.0, 0.3]])
    assert nearest(point, codebook).tolist() == [1]
    assert nearest(point, functional.normalize(codebook, dim=1)).tolist() == [0]


def test_all_codes_are_compared_in_full_precision_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 1 + 1e-3 * torch.randn(500, 16, generator=generator)  # bfloat16 sees them all equal
    codebook = 1 + 1e-3 * torch.randn(40, 16, generator=generator)
    exact = torch.cdist(points.double(), codebook.double()).argmin(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = nearest(points, codebook)
    assert float((found == exact).float().mean()) > 0.99  # ties within a rounding may differ


def test_points_of_several_blocks_and_of_half_precision_are_compared_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(8192, 3, generator=generator)
    points = torch.randn(4500, 3, generator=generator).half()
    exact = torch.cdist(points.double(), codebook.double())
    found = assign(points, codebook)
    own = exact.gather(1, found.codes[:, None])[:, 0]
    torch.testing.assert_close(own, exact.min(1).values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.squared_distances.double(), own**2, atol=1e-5, rtol=1e-3)
    assert torch.equal(found.codes, nearest(points, codebook))
    assert int(found.counts.sum()) == 4500


@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 10**6))
def test_sums_and_means_are_those_of_a_loop(count: int, vocabulary: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=generator)
    codebook = torch.randn(vocabulary, 3, generator=generator)
    found = assign(points, codebook)
    sums = sum_by_code(points, found.codes, vocabulary)
    for code in range(vocabulary):
        mine = points[found.codes == code]
        assert int(found.counts[code]) == len(mine)
        torch.testing.assert_close(sums[code], mine.sum(0))
        mean = mine.mean(0) if len(mine) else codebook[code]
        torch.testing.assert_close(found.means[code], mean)
