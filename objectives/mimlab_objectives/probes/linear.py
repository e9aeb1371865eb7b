"""Protocol `linear/1`: a linear classifier on frozen features, its learning rate chosen fairly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mimlab_objectives.keys import bits, key_of
from mimlab_objectives.probes.accuracy import accuracies, rank_of_label

PROTOCOL = "linear/1"
LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
HELD_OUT = 0.1
_EPSILON = 1e-6  # facebookresearch/mae, main_linprobe.py: BatchNorm without affine parameters
_MOMENTUM = 0.9
_CHUNK = 4096

Heads = Float[Tensor, "inputs rates classes"]
"""One classifier for each learning rate, all trained on the same batches."""


@torch.no_grad()
def linear_probe(
    fit_features: Float[Tensor, "fit dim"],
    fit_labels: Int[Tensor, " fit"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int[Tensor, " test"],
    *,
    num_classes: int,
    seed: int,
    epochs: int = 100,
    batch_size: int = 256,
) -> dict[str, float]:
    """`top1` (and `top5` beyond five classes), `learning_rate` and `held_out_top1`.

    Features are standardised by the statistics of the rows that train, the place of MAE's
    BatchNorm. Softmax regression by SGD (momentum 0.9, no decay, cosine to 0) runs for all of
    `LEARNING_RATES` at once; the rate is the best on a tenth of the fit split, never on the test
    split, the smaller one where two are equal. A pure function of its arguments.
    Raises ValueError if there are fewer than two fit rows or no test rows.
    """
    if len(fit_features) < 2 or not len(test_features):
        raise ValueError("a linear probe needs at least two samples to fit and one to test")
    order = _shuffled(key_of(seed, PROTOCOL, "held out"), fit_features)
    held_out, train = order.tensor_split([max(1, round(HELD_OUT * len(order)))])
    rows = fit_features[train].float()
    var, mean = torch.var_mean(rows, dim=0, correction=0)

    def inputs(features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples inputs"]:
        standard = (features.float() - mean) / (var + _EPSILON).sqrt()
        return torch.cat([standard, torch.ones_like(standard[:, :1])], dim=1)  # 1: the bias

    heads = _train(
        inputs(rows),
        fit_labels[train].long(),
        num_classes=num_classes,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
    )
    ranks = _ranks(heads, inputs(fit_features[held_out]), fit_labels[held_out])
    scores = [accuracies(column, num_classes)["top1"] for column in ranks.unbind(1)]
    best = scores.index(max(scores))
    chosen = heads[:, best : best + 1]
    tested = accuracies(_ranks(chosen, inputs(test_features), test_labels)[:, 0], num_classes)
    return {**tested, "learning_rate": LEARNING_RATES[best], "held_out_top1": scores[best]}


def _train(
    inputs: Float[Tensor, "samples inputs"],
    labels: Int[Tensor, " samples"],
    *,
    num_classes: int,
    seed: int,
    epochs: int,
    batch_size: int,
) -> Heads:
    """Batched softmax regression with its gradient in closed form: (softmax − one-hot) · inputs."""
    rates = torch.tensor(LEARNING_RATES, device=inputs.device)[:, None]
    heads = inputs.new_zeros(inputs.shape[1], len(rates), num_classes)
    velocity = torch.zeros_like(heads)
    steps_per_epoch = math.ceil(len(inputs) / batch_size)
    for epoch in range(epochs):
        order = _shuffled(key_of(seed, PROTOCOL, "epoch", epoch), inputs)
        for step, rows in enumerate(order.split(batch_size)):
            gradient = _gradient(heads, inputs[rows], labels[rows])
            velocity.mul_(_MOMENTUM).add_(gradient)
            progress = (epoch + step / steps_per_epoch) / epochs
            heads.sub_(velocity * rates * (0.5 + 0.5 * math.cos(math.pi * progress)))
    return heads


def _gradient(
    heads: Heads, inputs: Float[Tensor, "samples inputs"], labels: Int[Tensor, " samples"]
) -> Heads:
    error = torch.einsum("si,irc->src", inputs, heads).softmax(-1)
    error[torch.arange(len(labels), device=labels.device), :, labels] -= 1
    return torch.einsum("si,src->irc", inputs, error) / len(labels)


def _ranks(
    heads: Heads, inputs: Float[Tensor, "samples inputs"], labels: Int[Tensor, " samples"]
) -> Int[Tensor, "samples rates"]:
    columns: Sequence[Tensor] = [
        torch.cat(
            [
                rank_of_label(rows @ head, names.long())
                for rows, names in zip(inputs.split(_CHUNK), labels.split(_CHUNK), strict=True)
            ]
        )
        for head in heads.unbind(1)
    ]
    return torch.stack(list(columns), dim=1)


def _shuffled(key: int, like: Float[Tensor, "samples dim"]) -> Int[Tensor, " samples"]:
    """A permutation of the rows, the same on every device."""
    keys = torch.tensor([key], device=like.device)
    return bits(keys, len(like))[0].argsort(stable=True)
