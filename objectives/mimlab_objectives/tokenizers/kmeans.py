"""A codebook by k-means, and the nearest code of a feature."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mimlab_objectives.registry import Params

_SEED = 1234
"""faiss's own default, which aimagelab/MaPeT, data/kmeans/kmeans_processing.py, leaves as it is."""
_REVIVALS = 10
"""Rounds of putting unused codes elsewhere; few are left after the first."""
_BLOCK = 1 << 24
"""Distances that are held at once."""


class KMeansParams(Params):
    """How codes are found; vocabulary and iterations are those of k-CLIP."""

    vocabulary: int = Field(default=8192, ge=2)
    """Number of codes."""
    images: int = Field(default=2048, ge=1)
    """Images whose patches are clustered before the first step."""
    iterations: int = Field(default=20, ge=1)
    """Rounds of k-means."""
    restarts: int = Field(default=1, ge=1)
    """Runs of k-means, of which the best is kept; k-CLIP takes 5."""
    points_per_code: int = Field(default=512, ge=1)
    """Of more patches than this many times the vocabulary, a sample is clustered."""


def fit_codebook(
    points: Float[Tensor, "points dim"], params: KMeansParams
) -> Float[Tensor, "vocabulary dim"]:
    """Centroids in Euclidean distance, by faiss from a fixed seed.

    Codes that no point is nearest to are moved to the points that are farthest from their codes,
    as long as such points differ. Raises ValueError if there are fewer points than codes.
    """
    import faiss  # here, since every process that lists the parts would wait half a second for it

    count = params.vocabulary
    if len(points) < count:
        raise ValueError(f"{count} codes need as many patches, and there are only {len(points)}")
    faiss.omp_set_num_threads(torch.get_num_threads())
    found = faiss.Kmeans(
        points.shape[1],
        count,
        niter=params.iterations,
        nredo=params.restarts,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=params.points_per_code,
    )
    found.train(np.ascontiguousarray(points.cpu().float().numpy()))
    assert found.centroids is not None
    return _revived(points, torch.from_numpy(found.centroids.copy()).to(points.device))


def nearest(
    points: Float[Tensor, "points dim"], codebook: Float[Tensor, "vocabulary dim"]
) -> Int[Tensor, " points"]:
    """The code that each point is nearest to in Euclidean distance: all are compared, in float32,
    under autocast too."""
    size = max(1, _BLOCK // len(codebook))
    centre = codebook.mean(0)  # around it, numbers are small and their squares exact enough
    codebook = codebook - centre
    with _full_precision(points.device):
        half = codebook.square().sum(1) / 2
        blocks = (points.float() - centre).split(size)
        return torch.cat([(half - block @ codebook.T).argmin(1) for block in blocks])


def mean_of_codes(
    values: Float[Tensor, "points dim"], codes: Int[Tensor, " points"], vocabulary: int
) -> Float[Tensor, "vocabulary dim"]:
    """Mean value of each code's points; zero for a code that has none."""
    sums = values.new_zeros(vocabulary, values.shape[1]).index_add(0, codes, values)
    return sums / codes.bincount(minlength=vocabulary).clamp(min=1)[:, None]


def _revived(points: Tensor, codebook: Tensor) -> Tensor:
    for _ in range(_REVIVALS):
        codes = nearest(points, codebook)
        dead = (codes.bincount(minlength=len(codebook)) == 0).nonzero()[:, 0]
        far = _farthest(points, codebook[codes], len(dead))
        if not len(far):
            break
        codebook[dead[: len(far)]] = far
        codes = nearest(points, codebook)
        used = codes.bincount(minlength=len(codebook)) > 0
        codebook[used] = mean_of_codes(points, codes, len(codebook))[used]
    return codebook


def _farthest(points: Tensor, own: Tensor, count: int) -> Float[Tensor, "found dim"]:
    """Up to `count` different points, the farthest from their codes first; none that is its
    code up to rounding."""
    distance = (points - own).square().sum(1)
    apart = distance > 1e-6 * points.square().sum(1).mean()
    order = distance.argsort(descending=True)
    candidates = points[order[apart[order]]][: 16 * count]  # some will be equal to each other
    return candidates.unique(dim=0)[:count]


def _full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    if device.type == "meta":  # has no autocast
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
