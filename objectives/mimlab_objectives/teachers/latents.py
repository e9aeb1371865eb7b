"""Features as targets: how they are normalised, and whether they still tell patches apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SPREAD = ("target_std", "cosine_within", "cosine_across", "variance_ratio")
"""Names of what `spread` gives."""


def whiten(features: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """Each token with mean 0 and (biased) variance 1 over its channels, in float32.

    A layer norm without weights, as I-JEPA, data2vec and MaskAlign normalise their targets
    (facebookresearch/ijepa, src/train.py; OpenDriveLab/maskalign, models_pretrain.py).
    """
    return functional.layer_norm(features.float(), features.shape[-1:])


def standardise(features: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """Each token with mean 0 and unbiased variance 1 over its channels, in float32.

    As MAE normalises pixels and dBOT its targets (liuxingbin/dbot); 1e-6 beside the variance.
    """
    var, mean = torch.var_mean(features.float(), dim=-1, correction=1, keepdim=True)
    return (features.float() - mean) / (var + 1e-6).sqrt()


def smooth_l1(
    prediction: Float[Tensor, "... dim"], target: Float[Tensor, "... dim"], beta: float
) -> Float[Tensor, "..."]:
    """Mean over channels, in float32: squared error ÷ 2β for errors below β, then absolute."""
    errors = functional.smooth_l1_loss(
        prediction.float(), target.float(), reduction="none", beta=beta
    )
    return errors.mean(-1)


@torch.no_grad()
def spread(
    target: Float[Tensor, "batch tokens dim"], prediction: Float[Tensor, "rows predicted dim"]
) -> Mapping[str, Float[Tensor, ""]]:
    """Whether targets collapse: what a falling loss cannot tell.

    `target_std`: of a channel over all tokens of the batch, averaged; `cosine_within` and
    `cosine_across`: mean cosine of two patches of one image, and of two images; `variance_ratio`:
    variance of the predictions over that of the targets. A teacher that has collapsed to one vector
    has a deviation of 0 and cosines of 1.
    """
    target, prediction = target.float(), prediction.float()
    batch, tokens, dim = target.shape
    sums = functional.normalize(target, dim=-1).sum(1)  # (batch, dim)
    own, whole = sums.square().sum(), sums.sum(0).square().sum()
    variance = _variance(target.reshape(-1, dim))
    predicted = _variance(prediction.reshape(-1, prediction.shape[-1]))
    return {
        "target_std": variance.sqrt().mean(),
        "cosine_within": (own / batch - tokens) / max(tokens * (tokens - 1), 1),
        "cosine_across": (whole - own) / max(batch * (batch - 1) * tokens**2, 1),
        "variance_ratio": predicted.mean() / variance.mean().clamp(min=1e-12),
    }


def _variance(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, " dim"]:
    """Of each channel; 0 for no rows, where torch would warn."""
    count = max(len(rows), 1)
    return (rows - rows.sum(0) / count).square().sum(0) / count
