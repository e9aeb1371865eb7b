"""Masks that a masking draws, in numbers: where it hides, and how many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimlab_objectives.keys import key_of
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, Signal
from mimlab_objectives.masking.select import select

BATCH = 64
"""Draws of one request: a masking may share a ratio or couple images within it."""


@dataclass(frozen=True)
class Draws:
    """Masks of a masking and what they have in common."""

    title: str
    shown: Bool[Tensor, "images rows columns"]
    """The first round of the first draws."""
    rate: Float[Tensor, "rows columns"]
    """How often each position is hidden."""
    counts: Int[Tensor, " masks"]
    """Hidden patches of every mask."""
    repaired: float
    """Patches that were moved to reach an exact count, in the mean."""


def draw(
    masking: Masking,
    title: str,
    images: Float[Tensor, "batch 3 height width"],
    grid: Grid,
    *,
    num_draws: int,
    seed: int = 0,
    maps: Float[Tensor, "batch tokens"] | None = None,
) -> Draws:
    """`num_draws` masks, over the whole of a training (progress 0 to 1), of `images` in turns.

    A masking that requires anything is given the images' pixels, and their `maps`.
    """
    known: dict[Signal, Tensor] = {"pixels": images} if masking.requires else {}
    if maps is not None:
        known["prior_map"] = maps

    def plan(keys: Int[Tensor, " batch"], progress: float, step: int) -> MaskPlan:
        turn = torch.arange(step * BATCH, step * BATCH + len(keys)) % len(images)
        signals: dict[Signal, Tensor] = {name: signal[turn] for name, signal in known.items()}
        return masking.plan(MaskRequest(keys, progress, key_of(seed, "step", step), signals))

    return _draws(plan, title, grid, num_draws, seed)


def draw_random(num_hidden: int, title: str, grid: Grid, *, num_draws: int, seed: int = 0) -> Draws:
    """The same of uniform random masks of `num_hidden` patches."""

    def plan(keys: Int[Tensor, " batch"], progress: float, step: int) -> MaskPlan:  # noqa: ARG001
        return select(torch.zeros(len(keys), grid[0] * grid[1]), num_hidden, keys, grid)

    return _draws(plan, title, grid, num_draws, seed)


def _draws(
    plan: Callable[[Int[Tensor, " batch"], float, int], MaskPlan],
    title: str,
    grid: Grid,
    num_draws: int,
    seed: int,
) -> Draws:
    first, last = key_of(seed, "masks"), max(1, (num_draws - 1) // BATCH)
    plans = []
    for step, start in enumerate(range(0, num_draws, BATCH)):
        keys = first + torch.arange(start, min(start + BATCH, num_draws))
        plans.append(plan(keys, step / last, step))
    hidden = torch.cat([part.hidden for part in plans])  # (draws, rounds, tokens)
    return Draws(
        title=title,
        shown=hidden[:, 0].unflatten(1, grid),
        rate=hidden.float().mean((0, 1)).unflatten(0, grid),
        counts=hidden.sum(-1).flatten(),
        repaired=float(torch.cat([part.repaired for part in plans]).float().mean()),
    )
