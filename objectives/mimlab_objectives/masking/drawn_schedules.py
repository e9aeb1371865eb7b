"""Ratios that are drawn anew in every step, by the step's key: one for the whole batch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from mimlab_objectives.keys import key_of, uniform_numpy
from mimlab_objectives.masking.schedules import RatioSchedule, schedules
from mimlab_objectives.registry import ParamsError

_POINTS = 4096
"""Of the midpoint rule for a mean."""

_TINY = 2.0**-53
"""Distance from 0 and 1 at which a normal distribution's quantiles are still finite."""


class DrawnRatio(RatioSchedule):
    """A function of one uniform number, between `low` and `high`."""

    low: float = Field(gt=0, lt=1)
    """Least ratio."""
    high: float = Field(default=1.0, gt=0, le=1)
    """Largest ratio; at 1 a batch may hide everything, which most maskings refuse."""

    @model_validator(mode="after")
    def _ordered(self) -> DrawnRatio:
        if self.low >= self.high:
            raise ParamsError("low", f"must be below high, {self.high}; found {self.low}")
        return self

    @abstractmethod
    def quantile(self, u: float) -> float:
        """The ratio that `u` in [0, 1) stands for, before it is clipped."""

    def at(self, progress: float, key: int) -> float:  # noqa: ARG002
        return self._clipped(float(uniform_numpy(np.array([key_of(key, "ratio")]), 1)[0, 0]))

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def mean(self) -> float:
        return math.fsum(self._clipped((i + 0.5) / _POINTS) for i in range(_POINTS)) / _POINTS

    def _clipped(self, u: float) -> float:
        return min(max(self.quantile(u), self.low), self.high)


class TruncatedNormalRatio(DrawnRatio):
    """MAGE's variable ratio: a normal distribution, cut at `low` and `high`.

    As LTH14/mage, models_mage.py and main_pretrain.py (arXiv:2211.09117): 0.55 and 0.25 on
    [0.5, 1], whose mean is 0.694.
    """

    name: Literal["truncated_normal"]
    """`truncated_normal` draws from a normal distribution that is cut at both ends."""
    mu: float = Field(default=0.55, gt=0, lt=1)
    """Mean before the cut."""
    std: float = Field(default=0.25, gt=0)
    """Standard deviation before the cut."""
    low: float = Field(default=0.5, gt=0, lt=1)
    """Least ratio."""

    def quantile(self, u: float) -> float:
        normal = NormalDist(self.mu, self.std)
        below, above = normal.cdf(self.low), normal.cdf(self.high)
        return normal.inv_cdf(min(max(below + u * (above - below), _TINY), 1 - _TINY))


Shape = Literal["cosine", "uniform", "pow", "log", "exp", "arccos"]

_SHAPES: Mapping[Shape, Callable[[float, MaskGitRatio], float]] = {
    "cosine": lambda u, _: math.cos(math.pi * u / 2),
    "uniform": lambda u, _: 1 - u,
    "pow": lambda u, own: 1 - u**own.power,
    "log": lambda u, own: -math.log2(max(u, _TINY)) / math.log2(own.tokens),
    "exp": lambda u, own: 1 - own.tokens ** -(1 - u),
    "arccos": lambda u, _: math.acos(u) * 2 / math.pi,
}


class MaskGitRatio(DrawnRatio):
    """MaskGIT's family: a falling function of a uniform number.

    As google-research/maskgit, maskgit/libml/mask_schedule.py (arXiv:2202.04200); `arccos` is that
    of later work (Halton-MaskGIT, PGM). The papers draw one number for each image, here it is one
    for each batch, so that encoders of kept patches can follow.
    """

    name: Literal["maskgit"]
    """`maskgit` draws a falling function of a uniform number."""
    shape: Shape = "cosine"
    """Of u: cos(πu/2), 1 − u, 1 − u^power, −log(u) ÷ log(tokens), 1 − tokens^(u − 1), or
    2·arccos(u)/π."""
    power: float = Field(default=2.0, gt=0)
    """Exponent of `pow`: 2 and 3 are the paper's."""
    tokens: int = Field(default=256, ge=2)
    """Length that `log` and `exp` are made for; the paper's is 256."""
    low: float = Field(default=1e-6, gt=0, lt=1)
    """Least ratio."""

    def quantile(self, u: float) -> float:
        return _SHAPES[self.shape](u, self)


schedules.register(
    "truncated_normal", params=TruncatedNormalRatio, paper="Li et al. 2022, arXiv:2211.09117"
)(TruncatedNormalRatio)
schedules.register("maskgit", params=MaskGitRatio, paper="Chang et al. 2022, arXiv:2202.04200")(
    MaskGitRatio
)
