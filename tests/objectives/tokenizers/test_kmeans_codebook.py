"""Codebooks by faiss and by torch: what is planted is found, and no code is wasted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.kmeans_codebook import (
    SEED,
    KMeansParams,
    fit_codebook,
    sample,
)
from mimlab_objectives.tokenizers.lloyd import lloyd, rows_drawn
from mimlab_objectives.tokenizers.nearest import assign, nearest

CPU = torch.device("cpu")
CENTRES = torch.tensor([[8.0, 0, 0], [0, 8.0, 0], [0, 0, 8.0], [-8.0, 0, 0]])


def params_of(vocabulary: int, **options: object) -> KMeansParams:
    return KMeansParams.model_validate({"vocabulary": vocabulary, **options})


def by_faiss(points: Tensor, params: KMeansParams, seed: int = SEED) -> Tensor:
    return fit_codebook(points, params, seed)


def by_torch(points: Tensor, params: KMeansParams, seed: int = SEED) -> Tensor:
    return lloyd(
        points,
        params.vocabulary,
        iterations=params.iterations,
        restarts=params.restarts,
        spherical=params.distance == "cosine",
        seed=seed,
        device=CPU,
    )


def blobs(count: int) -> tuple[Tensor, Tensor]:
    """Points around four centres, and whose they are."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(4, (count,), generator=generator)
    return CENTRES[truth] + 0.3 * torch.randn(count, 3, generator=generator), truth


def noise(count: int, dim: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fit", [by_faiss, by_torch])
@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_planted_clusters_are_found(fit, distance: str) -> None:
    points, truth = blobs(2000)
    if distance == "cosine":
        points = torch.nn.functional.normalize(points, dim=1)
    codebook = fit(points, params_of(4, distance=distance, restarts=60))
    codes = nearest(points, codebook)
    table = torch.zeros(4, 4).index_put_((truth, codes), torch.ones(2000), accumulate=True)
    assert float(table.max(1).values.sum()) >= 0.99 * 2000
    shares = codes.bincount(minlength=4) / 2000
    perplexity = math.exp(-float((shares * shares.log()).sum()))
    assert 3.9 < perplexity <= 4.0
    if distance == "cosine":
        torch.testing.assert_close(codebook.norm(dim=1), torch.ones(4))
    else:
        found = codebook[table.argmax(1)]
        torch.testing.assert_close(found, CENTRES, atol=0.1, rtol=0)


@pytest.mark.parametrize("fit", [by_faiss, by_torch])
def test_a_seed_gives_one_codebook(fit) -> None:
    points = noise(600, 5)
    first, again = (fit(points, params_of(16), 7) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, fit(points, params_of(16), 8))


def test_torch_finds_codebooks_as_good_as_those_of_faiss() -> None:
    points = noise(4000, 8)
    params = params_of(64, restarts=2)
    errors = [
        float(assign(points, fit(points, params)).squared_distances.mean())
        for fit in (by_faiss, by_torch)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.02)


def test_more_restarts_are_never_worse() -> None:
    points = noise(500, 4)
    errors = [
        float(assign(points, by_torch(points, params_of(32, restarts=r))).squared_distances.mean())
        for r in (1, 3, 9)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_no_code_is_dead_while_patches_differ(distance: str) -> None:
    """Most patches are one and the same, as black borders are: k-means splits them in vain."""
    points = noise(400, 12)
    points[:300] = points[0]
    if distance == "cosine":
        points = torch.nn.functional.normalize(points, dim=1)
    codebook = fit_codebook(points, params_of(64, distance=distance))
    assert (nearest(points, codebook).bincount(minlength=64) > 0).all()
    if distance == "cosine":
        torch.testing.assert_close(codebook.norm(dim=1), torch.ones(64))


def test_a_sample_is_drawn_by_the_seed_and_without_repetition() -> None:
    points = torch.arange(100.0)[:, None]
    params = params_of(4, points_per_code=5)
    first, again, other = (sample(points, params, seed) for seed in (1, 1, 2))
    assert len(first) == 20 == len(first.unique())
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert sample(points, params_of(4, points_per_code=25), 1) is points


def test_every_row_is_drawn_alike() -> None:
    drawn = torch.stack([rows_drawn(10, 3, key) for key in range(3000)])
    shares = drawn.flatten().bincount(minlength=10) / 3000
    torch.testing.assert_close(shares, torch.full((10,), 0.3), atol=0.05, rtol=0)


def test_more_codes_than_points_are_refused() -> None:
    with pytest.raises(ParamsError, match="9 codes need as many patches, and there are only 8"):
        sample(noise(8, 2), params_of(9), SEED)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_points_on_the_host_are_clustered_on_a_gpu_and_always_alike() -> None:
    points, params = noise(20_000, 64), params_of(512, restarts=2)
    device = torch.device("cuda", 0)
    first, again = (fit_codebook(points.half(), params, device=device) for _ in range(2))
    assert first.device == device and torch.equal(first, again)
    there, here = (
        float(assign(points, codebook).squared_distances.mean())
        for codebook in (first, by_faiss(points, params))
    )
    assert there == pytest.approx(here, rel=0.02)
