"""From scores or from hidden patches to a `MaskPlan`. Nothing else in the package sorts patches.

Every function takes the keys of the images and draws from streams below 0, which are this file's
own: maskings number theirs from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimlab_objectives.keys import bits
from mimlab_objectives.masking.plan import Grid, MaskPlan

_TIES = -1
_REPAIR = -2


def select(
    score: Float[Tensor, "batch tokens"], num_hidden: int, keys: Int[Tensor, " batch"], grid: Grid
) -> MaskPlan:
    """Hide the `num_hidden` patches of highest score; ties are broken by the key, as `highest`."""
    return plan_of_hidden(highest(score, num_hidden, keys), grid, keys, num_hidden=num_hidden)


def highest(
    score: Float[Tensor, "batch tokens"],
    num_hidden: int,
    keys: Int[Tensor, " batch"],
    *,
    stream: int = _TIES,
) -> Bool[Tensor, "batch tokens"]:
    """True for the `num_hidden` highest of each row, compared in float32.

    Equal scores are ordered by random bits of the image's key, never by position: a constant score
    gives a uniform random subset. The sort is stable and of integers, the same on CPU and GPU.
    """
    ties = bits(keys, score.shape[1], stream) >> 31
    rank = (_ordered(score) << 32) | ties
    order = rank.argsort(dim=1, descending=True, stable=True)
    hidden = torch.zeros_like(rank, dtype=torch.bool)
    return hidden.scatter_(1, order[:, :num_hidden], True)


def _ordered(score: Float[Tensor, "batch tokens"]) -> Int[Tensor, "batch tokens"]:
    """int64 in the order of the float32 scores: their IEEE 754 bits, those below zero reversed."""
    pattern = (score.float() + 0.0).view(torch.int32).long()  # adding 0 turns −0 into +0
    return torch.where(pattern < 0, pattern ^ 0x7FFFFFFF, pattern)


def repair(
    hidden: Bool[Tensor, "batch tokens"], num_hidden: int, keys: Int[Tensor, " batch"]
) -> tuple[Bool[Tensor, "batch tokens"], Int[Tensor, " batch"]]:
    """Reach an exact count: (hidden patches, how many of each image were moved).

    BEiT v2's rule (microsoft/unilm, beit2/masking_generator.py): un-hide a uniform random subset
    of the hidden, or hide a uniform random subset of the visible.
    """
    repaired = highest(hidden.float(), num_hidden, keys, stream=_REPAIR)
    return repaired, (repaired ^ hidden).sum(1)


def plan_of_hidden(
    hidden: Bool[Tensor, "batch tokens"],
    grid: Grid,
    keys: Int[Tensor, " batch"],
    *,
    num_hidden: int | None,
    repaired: Int[Tensor, " batch"] | None = None,
) -> MaskPlan:
    """The plan of one round that predicts what it hides, every patch with weight 1.

    `num_hidden` is the count of every row, or None where rows differ, which leaves the plan without
    indices. It is given, not counted: counting would make the host wait for the device.
    `repaired` is what `repair` moved, where it ran.
    """
    if repaired is None:
        repaired = hidden.new_zeros(hidden.shape[0], dtype=torch.int64)
    kept_ids = restore_ids = None
    if num_hidden is not None:
        kept_ids, restore_ids = _indices(hidden, hidden.shape[1] - num_hidden)
    hidden = hidden[:, None]  # (batch, rounds = 1, tokens)
    return MaskPlan(
        grid=grid,
        keys=keys,
        hidden=hidden,
        kept_ids=kept_ids,
        restore_ids=restore_ids,
        predicted=hidden,
        weight=hidden.float(),
        repaired=repaired[:, None],
    )


def with_replaced(
    plan: MaskPlan, replaced: Bool[Tensor, "batch tokens"], *, predicted: bool
) -> MaskPlan:
    """The plan of one round with mask tokens in the place of these kept patches, which are hidden
    by that; `predicted`: whether the loss counts there, too."""
    assert plan.kept_ids is not None  # a masking that replaces keeps equally many in each image
    hidden = plan.hidden | replaced[:, None]
    changed = replace(plan, hidden=hidden, replaced=replaced[:, None].gather(2, plan.kept_ids))
    return replace(changed, predicted=hidden, weight=hidden.float()) if predicted else changed


def join_rounds(plans: Sequence[MaskPlan]) -> MaskPlan:
    """One plan of several of the same images and number of hidden patches, a round each."""
    names = ("hidden", "kept_ids", "restore_ids", "predicted", "weight", "repaired")
    return replace(plans[0], **{n: torch.cat([getattr(p, n) for p in plans], 1) for n in names})


def _indices(
    hidden: Bool[Tensor, "batch tokens"], num_kept: int
) -> tuple[Int[Tensor, "batch 1 kept"], Int[Tensor, "batch 1 tokens"]]:
    """(kept ids, restore ids): a token's place is how many of its kind come before it."""
    place = torch.where(hidden, num_kept + hidden.cumsum(1), (~hidden).cumsum(1)) - 1
    ids = torch.arange(hidden.shape[1], device=hidden.device).expand_as(place)
    order = torch.empty_like(place).scatter_(1, place, ids)
    return order[:, None, :num_kept], place[:, None]
