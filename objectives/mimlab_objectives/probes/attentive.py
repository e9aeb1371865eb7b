"""Protocol `attentive/1`: one cross-attention layer with a learned query over frozen patch tokens.

As in facebookresearch/capi, eval_classification.py (`AttnPoolClassifier`): heads of 64 channels, a
linear classifier on what the query has seen, AdamW, a tenth of the fit split held out to choose
among rates and decays. Three things are ours: tokens are standardised first, by the batch
normalisation without parameters of AIM (arXiv:2401.08541) and of MAE's linear probe, keys and
values have no bias, and views are centred.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.keys import key_of
from mimlab_objectives.probes.accuracy import accuracies, rank_of_label
from mimlab_objectives.probes.schedule import Tell, is_reported, warmup_cosine

PROTOCOL = "attentive/1"
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""CAPI's end at 0.01, for 12,500 steps; small data sets have some hundred, and want larger ones."""
WEIGHT_DECAYS = (5e-4, 5e-2)
SETTINGS = tuple(itertools.product(LEARNING_RATES, WEIGHT_DECAYS))
"""(learning rate, weight decay) of each classifier; the decays are the ends of CAPI's range."""
HELD_OUT = 0.1
BATCH_SIZE = 128
WARMUP = 0.1
"""Share of the steps. Batch size, too, is CAPI's."""
HEAD_DIM = 64
_INIT_STD = 0.02

TokenBatch = tuple[Float[Tensor, "_ tokens dim"], Int[Tensor, " _"]]
"""Patch tokens of images, and the images' labels."""


class AttentiveClassifier(nn.Module):
    """A learned query attends to the tokens of an image; a linear layer classifies what it saw."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        heads = num_heads(dim)
        self.query = nn.Parameter(torch.empty(heads, dim // heads))
        self.key = nn.Parameter(torch.empty(heads, dim // heads, dim))
        self.value = nn.Parameter(torch.empty(heads, dim // heads, dim))
        self.linear = nn.Linear(dim, num_classes)
        for weight in (self.query, self.key, self.value, self.linear.weight):
            nn.init.trunc_normal_(weight, std=_INIT_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch classes"]:
        """Multi-head attention of one query.

        The query is the same for every image, so its product with the keys' weights is taken
        first, and tokens are summed before the values' weights: the same function at a cost of
        heads × dim for each token instead of dim².
        """
        scale = self.query.shape[1] ** -0.5
        asked = torch.einsum("he,hed->hd", self.query, self.key) * scale
        attention = torch.einsum("btd,hd->bht", tokens, asked).softmax(-1)
        seen = torch.einsum("bht,btd->bhd", attention, tokens)
        return self.linear(torch.einsum("bhd,hed->bhe", seen, self.value).flatten(1))


class AttentiveClassifiers(nn.Module):
    """A classifier for each of `SETTINGS`, all equal at first, a function of the seed only."""

    def __init__(self, dim: int, num_classes: int, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key_of(seed, PROTOCOL, "init"))
            first = AttentiveClassifier(dim, num_classes)
        self.num_classes = num_classes
        # momentum None: the mean over all batches, not one that forgets.
        self.norm = nn.BatchNorm1d(dim, affine=False, momentum=None)
        self.members = nn.ModuleList(copy.deepcopy(first) for _ in SETTINGS)

    def forward(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "settings batch classes"]:
        standard = self.norm(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return torch.stack([member(standard) for member in self.members])


def num_heads(dim: int) -> int:
    """As many heads as leave each at least 64 channels and divide them evenly."""
    most = max(1, dim // HEAD_DIM)
    return next(heads for heads in range(most, 0, -1) if dim % heads == 0)


def attentive_probe(
    classifiers: AttentiveClassifiers,
    train: Iterable[TokenBatch],
    held_out: Iterable[TokenBatch],
    test: Iterable[TokenBatch],
    *,
    total_steps: int,
    tell: Tell,
) -> dict[str, float]:
    """`top1` (and `top5`), `held_out_top1`, and the `learning_rate` and `weight_decay` chosen.

    All classifiers train on each batch of `train`, which has `total_steps` of them; the one with
    the highest top-1 on `held_out` is tested, the first of `SETTINGS` where several are equal.
    Raises ValueError if there is no image to choose by or to test.
    """
    _fit(classifiers, train, total_steps, tell)
    classifiers.eval()
    num_classes = classifiers.num_classes
    ranks = _ranks(classifiers, held_out)
    scores = [accuracies(row, num_classes)["top1"] for row in ranks]
    best = scores.index(max(scores))
    tested = accuracies(_ranks(classifiers, test)[best], num_classes)
    rate, decay = SETTINGS[best]
    chosen = {"held_out_top1": scores[best], "learning_rate": rate, "weight_decay": decay}
    return tested | chosen


def _fit(
    classifiers: AttentiveClassifiers, train: Iterable[TokenBatch], total_steps: int, tell: Tell
) -> None:
    groups = [
        {"params": list(member.parameters()), "lr": rate, "peak": rate, "weight_decay": decay}
        for member, (rate, decay) in zip(classifiers.members, SETTINGS, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups)
    warmup_steps = round(WARMUP * total_steps)
    classifiers.train()
    for step, (tokens, labels) in enumerate(train):
        share = warmup_cosine(step, warmup_steps=warmup_steps, total_steps=total_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        logits = classifiers(tokens)
        # Summed over the classifiers: the gradient of each is that of its own mean loss.
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.repeat(len(SETTINGS)), reduction="none"
        )
        loss = losses.sum() / len(labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if is_reported(step, total_steps):
            mean = float(loss.detach()) / len(SETTINGS)
            tell({"done": step + 1, "of": total_steps, "loss": mean})


@torch.no_grad()
def _ranks(
    classifiers: AttentiveClassifiers, batches: Iterable[TokenBatch]
) -> Int[Tensor, "settings samples"]:
    ranks = [
        torch.stack([rank_of_label(logits, labels) for logits in classifiers(tokens)])
        for tokens, labels in batches
    ]
    if not ranks:
        raise ValueError("an attentive probe needs images to choose by and images to test")
    return torch.cat(ranks, dim=1)
