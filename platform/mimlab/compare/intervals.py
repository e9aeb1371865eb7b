"""Means over seeds and paired differences, with Student's t intervals."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mimlab.compare.cells import Cell

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean of n values, and what they say of the true mean."""

    n: int
    mean: float
    std: float | None
    """Sample standard deviation (n − 1); None for one value."""
    half_width: float | None
    """Of the 95 % interval: t(0.975; n − 1) · std ÷ √n. None for one value."""

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.mean + self.half_width

    def times(self, factor: float) -> Estimate:
        """The same in another unit, `factor` of which are one of this."""
        scaled = (None if v is None else factor * v for v in (self.std, self.half_width))
        return Estimate(self.n, factor * self.mean, *scaled)


@dataclass(frozen=True)
class Paired:
    """How much better one masking is than another at equal seeds, ratio and setting."""

    metric: str
    setting: str
    ratio: str
    first: str
    second: str
    """The difference is first − second."""
    difference: Estimate | None
    """None where they share no seed."""

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out zero."""
        found = self.difference
        if found is None or found.low is None or found.high is None:
            return False
        return found.low > 0 or found.high < 0


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and t interval of independent values; None of no values.

    Student (1908), The probable error of a mean. For seeds of one configuration the values are
    independent; three or five of them give wide intervals, as they must.
    """
    if not values:
        return None
    n, mean = len(values), statistics.fmean(values)
    if n == 1:
        return Estimate(1, mean, None, None)
    from scipy import stats  # takes most of a second to import

    std = statistics.stdev(values)
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))
    return Estimate(n, mean, std, quantile * std / math.sqrt(n))


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate | None:
    """Mean and t interval of first − second over the seeds that both have; None without one."""
    common = sorted(first.keys() & second.keys())
    return estimate([first[seed] - second[seed] for seed in common])


def paired_differences(cells: Sequence[Cell], metrics: Sequence[str]) -> list[Paired]:
    """Every two maskings of equal ratio and setting, for each metric.

    Of finished trials: scores of different progress are no pair.
    """
    return [
        _pair(metric, one, other)
        for metric in metrics
        for one, other in itertools.combinations(cells, 2)
        if one.variant != other.variant and (one.ratio, one.setting) == (other.ratio, other.setting)
    ]


def _pair(metric: str, one: Cell, other: Cell) -> Paired:
    return Paired(
        metric=metric,
        setting=one.setting,
        ratio=one.ratio,
        first=one.variant,
        second=other.variant,
        difference=paired_difference(_finished(one, metric), _finished(other, metric)),
    )


def _finished(cell: Cell, metric: str) -> dict[int, float]:
    done = {trial.seed for trial in cell.trials if trial.finished}
    return {seed: score for seed, score in cell.scores(metric).items() if seed in done}
