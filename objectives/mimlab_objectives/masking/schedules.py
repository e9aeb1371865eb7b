"""How many are hidden over the course of a training: ratio schedules, apart from where.

A schedule is a function of progress, and of the step's key where it draws; its ratio holds for a
whole batch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field

from mimlab_objectives.keys import uniform_numpy
from mimlab_objectives.registry import Params, Registry


class RatioSchedule(Params):
    """A ratio that changes; `masking.ratio` may hold one in the place of a number."""

    quantum: int = Field(default=4, ge=1)
    """Hidden counts are rounded to multiples of this many, so that few tensor shapes occur."""

    @abstractmethod
    def at(self, progress: float, key: int) -> float:
        """The ratio at `progress` in [0, 1], in the step that `key` stands for."""

    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Least and largest ratio that `at` gives."""

    @abstractmethod
    def mean(self) -> float:
        """Of the whole training."""

    def __str__(self) -> str:
        """`linear(start=0.9, end=0.5)`: the name, and what is not a default."""
        given = self.model_dump(exclude_defaults=True)
        name = given.pop("name", type(self).__name__)
        values = ", ".join(f"{key}={value}" for key, value in given.items())
        return f"{name}({values})" if values else str(name)


schedules: Registry[RatioSchedule] = Registry("schedule")


class Ramp(RatioSchedule):
    """From one ratio to another."""

    start: float = Field(gt=0, lt=1)
    """Ratio at the beginning."""
    end: float = Field(gt=0, lt=1)
    """Ratio at the end of the budget."""

    def bounds(self) -> tuple[float, float]:
        return min(self.start, self.end), max(self.start, self.end)

    def mean(self) -> float:
        return (self.start + self.end) / 2


class LinearRatio(Ramp):
    """A straight line from `start` to `end`: a curriculum."""

    name: Literal["linear"]
    """`linear` moves evenly."""

    def at(self, progress: float, key: int) -> float:  # noqa: ARG002
        return self.start + (self.end - self.start) * progress


class CosineRatio(Ramp):
    """Half a cosine from `start` to `end`: slow at both ends.

    Re-centred from mutonix/better_masking, bert_mrd_pretrain.py (arXiv:2208.10806), whose own form
    runs from twice the ratio to 0 and so cannot hold ratios above 0.5.
    """

    name: Literal["cosine"]
    """`cosine` moves slowly at both ends."""

    def at(self, progress: float, key: int) -> float:  # noqa: ARG002
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


class StepRatio(Ramp):
    """One ratio until a time, another afterwards."""

    name: Literal["step"]
    """`step` changes at once."""
    when: float = Field(default=0.5, gt=0, lt=1)
    """Share of the budget that is spent at `start`."""

    def at(self, progress: float, key: int) -> float:  # noqa: ARG002
        return self.start if progress < self.when else self.end

    def mean(self) -> float:
        return self.start * self.when + self.end * (1 - self.when)


class UniformRatio(RatioSchedule):
    """A ratio drawn evenly from a range in each step, for the whole batch.

    As AttMask draws it (gkakogeorgiou/attmask, main_attmask.py).
    """

    name: Literal["uniform"]
    """`uniform` is drawn anew in each step."""
    low: float = Field(gt=0, lt=1)
    """Least ratio."""
    high: float = Field(gt=0, lt=1)
    """Largest ratio."""

    def at(self, progress: float, key: int) -> float:  # noqa: ARG002
        draw = uniform_numpy(np.array([key], np.int64), 1)[0, 0]
        return self.low + (self.high - self.low) * float(draw)

    def bounds(self) -> tuple[float, float]:
        return min(self.low, self.high), max(self.low, self.high)

    def mean(self) -> float:
        return (self.low + self.high) / 2


schedules.register("linear", params=LinearRatio, paper="Yang et al. 2022, arXiv:2208.10806")(
    LinearRatio
)
schedules.register("cosine", params=CosineRatio, paper="Yang et al. 2022, arXiv:2208.10806")(
    CosineRatio
)
schedules.register("step", params=StepRatio, paper="Yang et al. 2022, arXiv:2208.10806")(StepRatio)
schedules.register("uniform", params=UniformRatio, paper="Kakogeorgiou et al., arXiv:2203.12719")(
    UniformRatio
)
