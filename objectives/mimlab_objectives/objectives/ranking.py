"""Losses of a predictor that says where another loss is high."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

_EPSILON = 1e-6  # Haochen-Wang409/HPM, models_mae_learn_loss.py


def ranking_losses(
    scores: Float[Tensor, "batch rounds tokens"],
    losses: Float[Tensor, "batch rounds tokens"],
    counted: Bool[Tensor, "batch rounds tokens"],
) -> Float[Tensor, "batch rounds"]:
    """Whether the order of the scores is that of the losses, of every image and round.

    Binary cross-entropy of sigmoid(score b − score a) against whether b has the larger loss, the
    mean over ordered pairs of counted patches whose losses differ; 0 where there is no such pair.
    Equal scores give −ln(0.5 + 1e-6) = 0.693145. No gradient flows to the losses (Wang et al. 2023,
    arXiv:2304.05919, relative loss).
    """
    scores, losses = scores.float(), losses.detach().float()
    sure = (scores[..., None, :] - scores[..., :, None]).sigmoid()  # (batch, rounds, a, b)
    larger = losses[..., None, :] > losses[..., :, None]
    differ = larger | larger.transpose(2, 3)
    pairs = differ & counted[..., None, :] & counted[..., :, None]
    right = sure.where(larger, 1 - sure)
    costs = -(right + _EPSILON).log() * pairs
    return costs.sum((2, 3)) / pairs.sum((2, 3)).clamp(min=1)


def standardised_losses(
    scores: Float[Tensor, "batch rounds tokens"],
    losses: Float[Tensor, "batch rounds tokens"],
    counted: Bool[Tensor, "batch rounds tokens"],
) -> Float[Tensor, "batch rounds"]:
    """Squared error of the scores against the losses, standardised over an image's counted patches.

    Of every image and round; no gradient flows to the losses (Wang et al. 2023, absolute loss;
    its deviation is taken without correction, which is not verified).
    """
    losses, number = losses.detach().float(), counted.sum(2, keepdim=True).clamp(min=1)
    centred = (losses - (losses * counted).sum(2, keepdim=True) / number) * counted
    deviation = (centred.square().sum(2, keepdim=True) / number + _EPSILON).sqrt()
    error = (scores.float() - centred / deviation).square() * counted
    return error.sum(2) / number[..., 0]
