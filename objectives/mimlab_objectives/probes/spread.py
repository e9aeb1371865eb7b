"""How much of their space features fill: what falls where an encoder collapses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

RANK_EPSILON = 1e-7
"""RankMe's, which its section 3 gives for single precision."""


@torch.no_grad()
def spread(features: Float[Tensor, "samples dim"]) -> dict[str, float]:
    """`feature_std` and `effective_rank` of features, on whatever device they are.

    `feature_std`: standard deviation of each channel of the features scaled to length 1, averaged
    over channels, × √dim: 1 where they point everywhere alike, 0 where all point the same way
    (Chen and He, 2021, arXiv:2011.10566, section 4.1).

    `effective_rank`: exp of the entropy of the singular values ÷ their sum, in [1, dim] (RankMe:
    Garrido et al., 2023, arXiv:2210.02885, equation 1).
    """
    rows = features.double()
    directions = functional.normalize(rows, dim=1)
    std = directions.std(dim=0, correction=0).mean() * rows.shape[1] ** 0.5
    # The squares of the singular values, from the smaller of the two products.
    gram = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    shares = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny) + RANK_EPSILON
    return {
        "feature_std": float(std),
        "effective_rank": float(torch.exp(-(shares * shares.log()).sum())),
    }
