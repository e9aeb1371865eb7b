"""From axes to points: which values of a study's axes go together, in which order. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mimlab.spec.errors import Problem
from mimlab.spec.positions import Keys, keys_of
from mimlab.spec.shape import lookup
from mimlab.spec.sweep import Axes, RandomSearch, Range, SweepConfig
from mimlab_objectives.keys import key_of, uniform_numpy

MAX_POINTS = 10_000
"""Beyond, a study is taken for a mistake."""


@dataclass(frozen=True)
class Setting:
    """One path set to one value, and where the study says so."""

    path: str
    value: Any
    axis: Keys
    index: int | None = None
    """Of the value in the axis's list; None for a continuous axis."""

    @property
    def keys(self) -> Keys:
        return keys_of(self.path)

    @property
    def origin(self) -> Keys:
        """Where the value is written."""
        return self.axis if self.index is None else (*self.axis, self.index)


Number = int | float
Point = tuple[Setting, ...]
Build = Callable[[Point], Any]
"""The base with a point's settings made."""


class SweepProblem(Exception):
    """A sweep that gives too many points or too few, or a point that cannot be built."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True)
class Dimension:
    """An axis, or axes that vary together."""

    path: str
    choices: Sequence[Point]
    """Empty where `range` is given."""
    range: Range | None = None
    origin: Keys = ()
    """Where the axis is written; of a group, its first."""

    @property
    def name(self) -> str:
        """Tells it from every other one of the study: two conditions may have the same path."""
        return dimension_name(self.origin)

    def draw(self, share: float) -> Point:
        """The choice, or the number, that lies at a share in [0, 1) of the axis."""
        if self.range is None:
            return self.choices[int(share * len(self.choices))]
        return self.at(number_at(self.range, share))

    def at(self, value: Number) -> Point:
        """The choice of a number, or a value of the range."""
        if self.range is None:
            return self.choices[int(value)]
        return (Setting(self.path, rounded(self.range, value), self.origin),)


def dimension_name(origin: Keys) -> str:
    """`masking.ratio`; `when[0] masking.min_area` for an axis of a condition."""
    return str(origin[-1]) if origin[1] == "axes" else f"when[{origin[2]}] {origin[-1]}"


def number_at(axis: Range, share: float) -> Number:
    """The number at a share of a range, to six significant digits and never outside."""
    # Each whole number has the same room around it, those at the ends too.
    around = 0.5 if axis.integer else 0.0
    low, high = axis.low - around, axis.high + around
    number = low * (high / low) ** share if axis.log else low + (high - low) * share
    return rounded(axis, number)


def rounded(axis: Range, number: Number) -> Number:
    """A whole number, or one of six significant digits; never outside the range."""
    if axis.integer:
        return int(min(max(round(number), axis.low), axis.high))
    return min(max(float(f"{number:.6g}"), axis.low), axis.high)


def points_of(sweep: SweepConfig, build: Build) -> list[Point]:
    """Every point of a grid, the first axis slowest; or as many as a random search draws.

    Raises SweepProblem.
    """
    if isinstance(sweep.search, RandomSearch):
        return _drawn(sweep, sweep.search, build)
    points = every_point(sweep, build)
    if points:
        return points
    raise SweepProblem(Problem(("sweep", "exclude"), "leaves out every point"))


def every_point(sweep: SweepConfig, build: Build) -> list[Point]:
    """All points of axes that are lists, the first axis slowest. Raises SweepProblem."""
    points = _extended(sweep, build, _every)
    return [point for point in points if not excluded(sweep, build(point))]


def _drawn(sweep: SweepConfig, search: RandomSearch, build: Build) -> list[Point]:
    drawn = drawn_points(sweep, build, seed=search.seed, attempts=200 + 20 * search.num_trials)
    found = list(itertools.islice(drawn, search.num_trials))
    if len(found) == search.num_trials:
        return found
    message = (
        f"asks for {search.num_trials} points, but only {len(found)} different ones were found; "
        "lower it, or use `search: {name: grid}`"
    )
    raise SweepProblem(Problem(("sweep", "search", "num_trials"), message))


def drawn_points(sweep: SweepConfig, build: Build, *, seed: int, attempts: int) -> Iterator[Point]:
    """Different points at random, at most `attempts`, without those that are excluded."""
    seen: set[str] = set()
    for attempt in range(attempts):
        point = chosen_point(
            sweep, build, lambda d, attempt=attempt: d.draw(_share(seed, attempt, d.path))
        )
        key = point_key(point)
        if key not in seen and not excluded(sweep, build(point)):
            seen.add(key)
            yield point


def chosen_point(sweep: SweepConfig, build: Build, choose: Callable[[Dimension], Point]) -> Point:
    """The point of which `choose` gives each part; it is asked only for axes that exist there.

    Raises SweepProblem.
    """

    def together(dimensions: Sequence[Dimension]) -> list[Point]:
        return [tuple(itertools.chain.from_iterable(map(choose, dimensions)))]

    (point,) = _extended(sweep, build, together)
    return point


def point_key(point: Point) -> str:
    """Equal for points that set the same paths to the same values."""
    return json.dumps([[setting.path, setting.value] for setting in point])


def _share(seed: int, attempt: int, path: str) -> float:
    """In [0, 1). Keyed by the axis, so that another axis does not move this one's numbers."""
    key = np.array([key_of("search", seed, attempt, path)], np.int64)
    return float(uniform_numpy(key, 1)[0, 0])


def _extended(
    sweep: SweepConfig, build: Build, choose: Callable[[Sequence[Dimension]], list[Point]]
) -> list[Point]:
    """Points of the axes, each with those of every `when` whose condition it meets."""
    points = choose(dimensions(sweep.axes, ("sweep", "axes"), sweep.zip))
    for number, when in enumerate(sweep.when):
        inner = dimensions(when.axes, ("sweep", "when", number, "axes"))
        points = [
            point + more
            for point in points
            for more in (choose(inner) if matches(when.condition, build(point)) else [()])
        ]
        _refuse_many(len(points))
    return points


def _every(dimensions: Sequence[Dimension]) -> list[Point]:
    _refuse_many(math.prod(len(dimension.choices) for dimension in dimensions))
    combinations = itertools.product(*(dimension.choices for dimension in dimensions))
    return [tuple(itertools.chain.from_iterable(parts)) for parts in combinations]


def _refuse_many(count: int) -> None:
    if count > MAX_POINTS:
        message = (
            f"give {count} points, more than {MAX_POINTS}; list fewer values, or draw some "
            "with `search: {name: random, num_trials: …}`"
        )
        raise SweepProblem(Problem(("sweep", "axes"), message))


def dimensions(axes: Axes, origin: Keys, zipped: Iterable[tuple[str, ...]] = ()) -> list[Dimension]:
    """Axes in their order; a zipped group stands where its first axis does."""
    group_of = {path: group for group in zipped for path in group}
    result: dict[str, Dimension] = {}
    for path, axis in axes.items():
        group = group_of.get(path, (path,))
        first = next(other for other in axes if other in group)
        if isinstance(axis, Range):
            result[path] = Dimension(path, (), axis, (*origin, path))
            continue
        settings = [(Setting(path, value, (*origin, path), i),) for i, value in enumerate(axis)]
        before = result[first].choices if first in result else [()] * len(settings)
        both = [old + new for old, new in zip(before, settings, strict=True)]
        result[first] = Dimension(first, both, origin=(*origin, first))
    return list(result.values())


def matches(condition: Mapping[str, Any], root: Any) -> bool:
    """Whether every path has the value, or one of the values, that a condition gives it."""
    return all(agrees(lookup(root, keys_of(path)), asked) for path, asked in condition.items())


def agrees(value: Any, asked: Any) -> bool:
    """Whether a value is the one asked for, or one of a list of them."""
    return value == asked or (isinstance(asked, list) and value in asked)


def excluded(sweep: SweepConfig, root: Any) -> bool:
    """Whether the study leaves this point out."""
    return any(matches(condition, root) for condition in sweep.exclude)
