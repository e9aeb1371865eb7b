"""How often the right class is among the first guesses."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rank_of_label(
    scores: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]
) -> Int[Tensor, " samples"]:
    """Classes that are guessed before the right one; equal scores go to the lower class.

    A score that is not a number is never right.
    """
    right = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    later = (scores < right) | ((scores == right) & (classes >= labels[:, None]))
    return (~later).sum(1)


def accuracies(ranks: Int[Tensor, " samples"], num_classes: int) -> dict[str, float]:
    """`top1`, and `top5` where there are more than five classes, as shares in [0, 1]."""
    depths = (1, 5) if num_classes > 5 else (1,)
    return {f"top{depth}": float((ranks < depth).double().mean()) for depth in depths}
