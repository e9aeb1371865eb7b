"""Which budgets the trials of a plan spend equally, before any of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spending:
    """What a trial is going to spend."""

    steps: int
    images: int
    visible_tokens: float
    asked: tuple[str, float]
    """The budget that the study gives it, and how much of it."""


def equal_words(trials: Sequence[Spending]) -> str:
    """What the trials spend equally: images and steps to the last one, tokens to less than a step
    and hours as asked; or how many images they see, where nothing is equal."""
    if len(trials) < 2:
        return ""
    images = [trial.images for trial in trials]
    equal: list[str] = []
    if len({trial.asked for trial in trials}) == 1 and trials[0].asked[0].endswith("_hours"):
        kind, hours = trials[0].asked
        equal.append(f"{kind[:3].upper()}-hours ({hours:g} each, frozen to steps)")
    if min(images) == max(images):
        equal.append(f"images ({images[0]:,} each)")
    if _tokens_equal(trials):
        equal.append(f"visible tokens (about {trials[0].visible_tokens:,.0f} each)")
    if equal:
        return f"equal across the trials: {', '.join(equal)}"
    return f"no budget is equal: the trials see {min(images):,} to {max(images):,} images"


def _tokens_equal(trials: Sequence[Spending]) -> bool:
    tokens = [trial.visible_tokens for trial in trials]
    return max(tokens) - min(tokens) < max(t.visible_tokens / t.steps for t in trials)
