"""The learning rate of probes that train: warm-up, then half a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable

Tell = Callable[[dict[str, int | float]], None]
"""Takes what a long probe says of its progress."""

REPORTS = 20
"""Times that a long probe tells how far it has come."""


def warmup_cosine(step: int, *, warmup_steps: int, total_steps: int) -> float:
    """Share of the peak rate at `step`, from 0: linear up from 0, then half a cosine to 0.

    As facebookresearch/mae, util/lr_sched.py, with a step in the place of an epoch's fraction.
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))


def is_reported(step: int, total_steps: int) -> bool:
    """Whether progress is told after `step`, from 0: `REPORTS` times, evenly, and at the end."""
    return (step + 1) * REPORTS // total_steps > step * REPORTS // total_steps
