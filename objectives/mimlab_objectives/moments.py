"""Mean, covariance and principal axes of many points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 1 << 14
"""Points that are held in double precision at once."""


def moments(
    points: Float[Tensor, "points dim"], *, device: torch.device | None = None
) -> tuple[Float[Tensor, " dim"], Float[Tensor, "dim dim"]]:
    """Mean, and covariance with divisor n; float64, in two passes, on `device`, which a block of
    the points visits at a time."""
    device = points.device if device is None else device
    parts = points.split(_BLOCK)
    sums = [part.to(device, torch.float64).sum(0) for part in parts]
    mean = torch.stack(sums).sum(0) / len(points)
    covariance = mean.new_zeros(len(mean), len(mean))
    for part in parts:
        centred = part.to(device, torch.float64) - mean
        covariance.addmm_(centred.T, centred)
    return mean, covariance / len(points)


def principal_axes(
    points: Float[Tensor, "points dim"], count: int, *, device: torch.device | None = None
) -> tuple[Float[Tensor, " dim"], Float[Tensor, "dim count"], Float[Tensor, " count"]]:
    """Mean, `count` orthonormal axes of the largest variance, and those variances; float64.

    Exact, from the covariance. The largest number of each axis is positive, so that its direction
    does not depend on the solver.
    """
    mean, covariance = moments(points, device=device)
    variances, vectors = torch.linalg.eigh(covariance)
    axes = vectors.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean, axes * largest.sign(), variances.flip(0)[:count].clamp(min=0)
