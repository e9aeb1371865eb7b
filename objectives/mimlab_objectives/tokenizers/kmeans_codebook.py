"""A codebook by k-means: seeded, with restarts and no code left unused."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.keys import key_of
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.tokenizers.lloyd import lloyd, rows_drawn
from mimlab_objectives.tokenizers.nearest import Assignment, assign

SEED = 1234
"""faiss's own default, which aimagelab/MaPeT, data/kmeans/kmeans_processing.py, leaves as it is."""
_REVIVALS = 10
"""Rounds of putting unused codes elsewhere; few are left after the first."""


class KMeansParams(Params):
    """How codes are found; the defaults are k-CLIP's."""

    vocabulary: int = Field(default=8192, ge=2)
    """Number of codes."""
    distance: Literal["l2", "cosine"] = "l2"
    """`l2`: Euclidean; `cosine`: points and codes have length 1 (spherical k-means)."""
    whiten: bool = False
    """Cluster points whose components have variance 1 and no correlation (`Whitening`)."""
    iterations: int = Field(default=20, ge=1)
    """Rounds of k-means."""
    restarts: int = Field(default=5, ge=1)
    """Runs of k-means, of which the best is kept."""
    points_per_code: int = Field(default=512, ge=1)
    """Of more patches than this many times the vocabulary, a sample is clustered."""

    def label_of(self, source: str) -> str:
        """In short, for people: what is clustered, by its short name, and into how many codes."""
        parts = ["kmeans", source]
        parts += ["whitened"] if self.whiten else []
        parts += ["cosine"] if self.distance == "cosine" else []
        return "-".join([*parts, str(self.vocabulary)])


def sample(
    points: Float[Tensor, "points dim"], params: KMeansParams, seed: int
) -> Float[Tensor, "sampled dim"]:
    """The points that are clustered: all of them, or as many as `points_per_code` allows, drawn by
    the seed. Raises ParamsError if there are fewer points than codes."""
    if len(points) < params.vocabulary:
        raise ParamsError(
            "vocabulary",
            f"{params.vocabulary} codes need as many patches, and there are only {len(points)}; "
            "lower vocabulary or take more images",
        )
    limit = params.vocabulary * params.points_per_code
    if len(points) <= limit:
        return points
    rows = rows_drawn(len(points), limit, key_of(seed, "sample"))
    return points[rows.to(points.device)]


def fit_codebook(
    points: Float[Tensor, "points dim"],
    params: KMeansParams,
    seed: int = SEED,
    *,
    device: torch.device | None = None,
) -> Float[Tensor, "vocabulary dim"]:
    """Centroids of at least as many points, on `device`, or where the points are.

    By faiss, on its GPU where it has one; by torch where the device is a GPU and faiss has none.
    Codes that no point is nearest to are moved to the points that are farthest from their codes,
    as long as such points differ. For `cosine` the points have length 1, and so have centroids.
    """
    import faiss  # here, since every process that lists the parts would wait half a second for it

    device = points.device if device is None else device
    spherical = params.distance == "cosine"
    if device.type == "cuda" and not faiss.get_num_gpus():
        found = lloyd(
            points,
            params.vocabulary,
            iterations=params.iterations,
            restarts=params.restarts,
            spherical=spherical,
            seed=seed,
            device=device,
        )
        return _revived(points, found, spherical)
    faiss.omp_set_num_threads(torch.get_num_threads())
    clustering = faiss.Kmeans(
        points.shape[1],
        params.vocabulary,
        niter=params.iterations,
        nredo=params.restarts,
        seed=seed,
        spherical=spherical,
        gpu=faiss.get_num_gpus() > 0,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),  # none is left out
    )
    clustering.train(np.ascontiguousarray(points.cpu().float().numpy()))
    assert clustering.centroids is not None
    return _revived(points, torch.from_numpy(clustering.centroids.copy()).to(device), spherical)


def _revived(points: Tensor, codebook: Tensor, spherical: bool) -> Tensor:
    for _ in range(_REVIVALS):
        found = assign(points, codebook)
        dead = (found.counts == 0).nonzero()[:, 0]
        if not len(dead):
            break
        far = _farthest(points, found, len(dead)).to(codebook)
        codebook[dead[: len(far)]] = far
        means = assign(points, codebook).means
        codebook = functional.normalize(means, dim=1) if spherical else means
    return codebook


def _farthest(points: Tensor, found: Assignment, count: int) -> Float[Tensor, "found dim"]:
    """Up to `count` different points, the farthest from their codes first; none that is its
    code up to rounding."""
    distances = found.squared_distances.to(points.device)
    order = distances.argsort(descending=True)[: 16 * count]  # some will be equal to each other
    scale = torch.stack([part.float().square().sum() for part in points.split(1 << 16)]).sum()
    apart = order[distances[order] > 1e-6 * scale / len(points)]
    return points[apart].unique(dim=0)[:count]
