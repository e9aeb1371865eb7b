"""Protocol `low_shot/1`: logistic regression on the frozen features of a few labels for each class.

As the low-shot evaluation of MSN (Assran et al., 2022, arXiv:2204.07141; facebookresearch/msn,
logistic_eval.py): an L2 penalty of 0.00025 on the sum of the losses, features of length about 1.
Ours: channels are standardised, as in `linear/1`, by all fit images, which takes no label.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.probes.accuracy import accuracies, rank_of_label

PROTOCOL = "low_shot/1"
PENALTY = 0.00025
MAX_ITERATIONS = 300
"""Of L-BFGS; MSN's solver makes as many passes."""
_EPSILON = 1e-6


def shots(num_samples: int, num_classes: int, fraction: float) -> int:
    """Labels of each class that a fraction of all is, at least one."""
    return max(1, round(fraction * num_samples / num_classes))


def draw(
    labels: Int[Tensor, " samples"], ids: Int[np.ndarray, " samples"], *, count: int, seed: int
) -> Int[Tensor, " drawn"]:
    """Rows of `count` samples of each class, or of all that a class has, by ascending id.

    Those whose ids have the smallest keys: a function of (seed, id) only, so that a smaller draw is
    part of a larger one and the order of the rows changes nothing.
    """
    classes = labels.cpu().numpy()
    keys = sample_keys(key_of(seed, PROTOCOL, "draw"), ids, 0)
    order = np.lexsort((keys, classes))  # class by class, by key
    _, first, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, sizes)
    rows = order[place < count]
    return torch.from_numpy(rows[np.argsort(ids[rows])])


def low_shot(
    fit_features: Float[Tensor, "fit dim"],
    fit_labels: Int[Tensor, " fit"],
    fit_ids: Int[np.ndarray, " fit"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int[Tensor, " test"],
    *,
    num_classes: int,
    fraction: float,
    seeds: int,
) -> dict[str, float]:
    """Means over `seeds` draws of `top1` (and `top5`), the deviation `top1_std`, and `shots`.

    Raises ValueError if there is nothing to fit or to test.
    """
    if not len(fit_features) or not len(test_features):
        raise ValueError("a low-shot probe needs samples to fit and to test")
    var, mean = torch.var_mean(fit_features.double(), dim=0, correction=0)
    scale = (var + _EPSILON).rsqrt() / math.sqrt(len(mean))
    fit, test = ((rows.double() - mean) * scale for rows in (fit_features, test_features))
    count = shots(len(fit), num_classes, fraction)
    scores = []
    for seed in range(seeds):
        rows = draw(fit_labels, fit_ids, count=count, seed=seed).to(fit.device)
        weights = logistic_regression(fit[rows], fit_labels[rows].long(), num_classes)
        ranks = rank_of_label(_with_one(test) @ weights, test_labels.long())
        scores.append(accuracies(ranks, num_classes))
    means = {key: statistics.fmean(score[key] for score in scores) for key in scores[0]}
    top1 = [score["top1"] for score in scores]
    deviation = statistics.stdev(top1) if seeds > 1 else 0.0
    return means | {"top1_std": deviation, "shots": float(count)}


def logistic_regression(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"], num_classes: int
) -> Float[Tensor, "inputs classes"]:
    """Weights, the bias in the last row, that minimise Σ cross-entropy + PENALTY / 2 · ‖weights‖².

    By L-BFGS from 0 on all samples; the bias is not penalised.
    """
    inputs = _with_one(features)
    weights = inputs.new_zeros(inputs.shape[1], num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = functional.cross_entropy(inputs @ weights, labels, reduction="sum")
        # Divided by the count: the same minimum, and tolerances that mean the same for any.
        value = (error + PENALTY / 2 * weights[:-1].square().sum()) / len(labels)
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def _with_one(features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples inputs"]:
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
