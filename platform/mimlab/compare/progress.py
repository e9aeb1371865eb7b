"""What a trial has spent by a step: images, visible tokens, seconds of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mimlab.storage.records import JournalPoint

IMAGES, TOKENS, SPEED = "train/images", "train/visible_tokens", "train/images_per_s"
WAIT, WORKERS = "train/wait_share", "train/workers"


@dataclass(frozen=True)
class Progress:
    """Cumulative figures at the logged steps, from zero at step 0."""

    steps: Float[np.ndarray, " points"]
    images: Float[np.ndarray, " points"]
    tokens: Float[np.ndarray, " points"]
    seconds: Float[np.ndarray, " points"]
    """Of training, boards and checkpoints included; pauses before a resume are not in it."""
    waited: Float[np.ndarray, " points"]
    """Seconds of waiting for data."""

    @property
    def started(self) -> bool:
        """Whether any step was logged."""
        return len(self.steps) > 1

    @property
    def wait_share(self) -> float | None:
        """Of the whole training time; None before the first logged step."""
        return float(self.waited[-1] / self.seconds[-1]) if self.seconds[-1] > 0 else None

    def at(self, step: int, spent: Float[np.ndarray, " points"]) -> float | None:
        """One of these figures at a step, linear between logged ones; None beyond the last."""
        if step > self.steps[-1]:
            return None
        return float(np.interp(step, self.steps, spent))


def progress_of(points: Sequence[JournalPoint], first_images: float = 0.0) -> Progress:
    """Sums up a journal. `first_images`: read before it begins, by the parent of a fork."""
    rows = [(0.0, 0.0, 0.0, 0.0, 0.0)]
    for point in points:
        found = point.metrics
        _, images, tokens, seconds, waited = rows[-1]
        passed = passed_s(point, max(images, first_images))
        if passed is None:
            continue
        rows.append(
            (
                float(point.step),
                found[IMAGES],
                found.get(TOKENS, tokens),
                seconds + passed,
                waited + passed * found.get(WAIT, 0.0),
            )
        )
    return Progress(*np.array(rows, dtype=np.float64).T)


def mean_workers(
    points: Sequence[JournalPoint], otherwise: float, first_images: float = 0.0
) -> float:
    """Workers that a trial had, over its training time; `otherwise` where a point does not say."""
    images, seconds, more = first_images, 0.0, 0.0
    for point in points:
        passed = passed_s(point, images)
        if passed is not None:
            images = point.metrics[IMAGES]
            seconds += passed
            # Not their sum: a number that never varied comes out without rounding.
            more += passed * (point.metrics.get(WORKERS, otherwise) - otherwise)
    return otherwise + more / seconds if seconds else otherwise


def passed_s(point: JournalPoint, images: float) -> float | None:
    """Seconds of training since the point before, at which `images` were read; None if unknown.

    It is the images between the two ÷ the rate of this one. The clock times of the points would
    count the pause before a resume; the rate is measured by the process that trained, so it does
    not.
    """
    found = point.metrics
    if not all(found.get(key, 0.0) > 0 for key in (IMAGES, SPEED)):
        return None
    return max(0.0, found[IMAGES] - images) / found[SPEED]
