"""Balanced soft assignments to clusters: Sinkhorn-Knopp over a batch on all ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def balanced_assignments(
    logits: Float[Tensor, "batch positions clusters"],
    iterations: int,
    *,
    positionwise: bool = True,
) -> Float[Tensor, "batch positions clusters"]:
    """Shares of each cluster, that sum to 1 for each patch, in float32; after many iterations the
    clusters of one position (of all positions, unless `positionwise`) are equally full.

    Each iteration gives every cluster the same sum over the batch, then every patch the sum 1. In
    logarithms, so that nothing over- or underflows. Among several ranks, sums run over all of them:
    every rank has to call it as often.
    After facebookresearch/capi (Darcet et al., 2025).
    """
    shape = logits.shape
    logs = logits.float() if positionwise else logits.float().reshape(-1, 1, shape[-1])
    for _ in range(iterations):
        logs = logs - _log_sum_over_batch(logs)
        logs = logs - logs.logsumexp(-1, keepdim=True)
    return logs.exp().reshape(shape)


def _log_sum_over_batch(
    logs: Float[Tensor, "batch positions clusters"],
) -> Float[Tensor, "positions clusters"]:
    """log Σ exp over the batch of all ranks."""
    peak = logs.amax(0)
    if dist.is_initialized():
        dist.all_reduce(peak, dist.ReduceOp.MAX)
    total = (logs - peak).exp().sum(0)
    if dist.is_initialized():
        dist.all_reduce(total)
    return peak + total.log()
