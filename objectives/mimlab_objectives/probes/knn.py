"""Protocol `knn/1`: weighted nearest neighbours, nothing trained."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.probes.accuracy import accuracies, rank_of_label

PROTOCOL = "knn/1"


@torch.no_grad()
def weighted_knn(
    fit_features: Float[Tensor, "fit dim"],
    fit_labels: Int[Tensor, " fit"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int[Tensor, " test"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 512,
) -> dict[str, float]:
    """`top1` (and `top5` beyond five classes) of k neighbours that vote with exp(cosine / T).

    Wu et al., 2018 (arXiv:1805.01978), section 3.4, with the k and T of facebookresearch/dino,
    eval_knn.py. Exact, `chunk` test rows at a time; equal votes go to the lower class. Raises
    ValueError if there are fewer than k fit rows or no test rows.
    """
    if not 1 <= k <= len(fit_features):
        raise ValueError(f"k = {k} neighbours cannot be found among {len(fit_features)} samples")
    if not len(test_features):
        raise ValueError("there is no sample to test")
    fit = functional.normalize(fit_features.float(), dim=1)
    one_hot = functional.one_hot(fit_labels.long(), num_classes).float()
    ranks = []
    for features, labels in zip(test_features.split(chunk), test_labels.split(chunk), strict=True):
        cosines = functional.normalize(features.float(), dim=1) @ fit.T
        nearest = cosines.topk(k, dim=1)
        weights = (nearest.values / temperature).exp()
        votes = torch.einsum("tk,tkc->tc", weights, one_hot[nearest.indices])
        ranks.append(rank_of_label(votes, labels.long()))
    return accuracies(torch.cat(ranks), num_classes)
