"""K-means in torch, for a GPU that faiss was not built for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.keys import bits, key_of
from mimlab_objectives.tokenizers.nearest import assign


def lloyd(
    points: Float[Tensor, "points dim"],
    vocabulary: int,
    *,
    iterations: int,
    restarts: int,
    spherical: bool,
    seed: int,
    device: torch.device,
) -> Float[Tensor, "vocabulary dim"]:
    """Centroids on `device`: the run of the lowest distortion.

    As faiss does it: each run starts from drawn points and takes `iterations` rounds of assignment
    and means; `spherical` gives the means length 1 in each. Points stay where they are and visit
    the device block by block. A code without points keeps its place.
    """
    keys = [key_of(seed, "start", restart) for restart in range(restarts)]
    starts = (_start(points, vocabulary, key, device) for key in keys)
    runs = (_run(points, start, iterations, spherical) for start in starts)
    return min(runs, key=lambda run: run[1])[0]


def rows_drawn(total: int, count: int, key: int) -> Tensor:
    """(count,) int64, different and in order: `count` of `total` rows, by the key."""
    drawn = bits(torch.tensor([key]), total)[0]
    return drawn.argsort(stable=True)[:count].sort().values


def _start(points: Tensor, count: int, key: int, device: torch.device) -> Tensor:
    rows = rows_drawn(len(points), count, key).to(points.device)
    return points[rows].to(device).float()


def _run(
    points: Tensor, codebook: Tensor, iterations: int, spherical: bool
) -> tuple[Tensor, float]:
    """The codebook and its distortion, which is what the last means were made of."""
    distortion = float("inf")
    for _ in range(iterations):
        found = assign(points, codebook)
        distortion = float(found.squared_distances.double().mean())
        codebook = functional.normalize(found.means, dim=1) if spherical else found.means
    return codebook, distortion
