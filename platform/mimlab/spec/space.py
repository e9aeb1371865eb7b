"""What an adaptive search chooses from: the space of a study, and its points as trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimlab.spec.expand import Trial, base_of, built, spec_of, values_of
from mimlab.spec.load import LoadedStudy
from mimlab.spec.points import (
    MAX_POINTS,
    Dimension,
    Number,
    Point,
    chosen_point,
    dimension_name,
    dimensions,
    drawn_points,
    every_point,
    excluded,
    point_key,
)
from mimlab.spec.study import Resources, Study, TrialSpec
from mimlab.spec.sweep import OptunaSearch, SweepConfig
from mimlab_objectives.keys import key_of


@dataclass(frozen=True)
class Space:
    """The axes of a study, and how a point of them becomes trials."""

    sweep: SweepConfig
    base: dict[str, Any]
    """The sections of a trial as the study file gives them, without defaults."""
    resources: Resources
    """What a trial runs on; where images are decoded may depend on it."""
    folder: Path
    """Where relative paths begin."""

    @property
    def search(self) -> OptunaSearch:
        assert isinstance(self.sweep.search, OptunaSearch)
        return self.sweep.search

    @property
    def conditions(self) -> list[tuple[Mapping[str, Any], list[Dimension]]]:
        """Axes by the condition under which they exist, those of every point first."""
        sweep = self.sweep
        found: list[tuple[Mapping[str, Any], list[Dimension]]] = [
            ({}, dimensions(sweep.axes, ("sweep", "axes"), sweep.zip))
        ]
        for number, when in enumerate(sweep.when):
            origin = ("sweep", "when", number, "axes")
            found.append((when.condition, dimensions(when.axes, origin)))
        return found

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """Every axis or group by its name, the conditional ones too."""
        return {each.name: each for _, group in self.conditions for each in group}

    def build(self, point: Point) -> dict[str, Any]:
        """The base with a point's settings made. Raises SweepProblem."""
        return built(self.base, point)

    def chosen(self, choose: Callable[[Dimension], Point]) -> Point | None:
        """The point that `choose` makes, axis by axis; None if the study excludes it."""
        point = chosen_point(self.sweep, self.build, choose)
        return None if excluded(self.sweep, self.build(point)) else point

    def drawn(self, attempts: int) -> Iterator[Point]:
        """Different points at random, the same ones for the same seed."""
        return drawn_points(self.sweep, self.build, seed=self.search.seed, attempts=attempts)

    def every(self) -> list[Point] | None:
        """All points, in an order by chance; None where they are too many, or a range has more."""
        known = self.dimensions.values()
        size = math.prod(len(dimension.choices) for dimension in known)
        if size > MAX_POINTS or any(dimension.range is not None for dimension in known):
            return None
        points = every_point(self.sweep, self.build)
        return sorted(points, key=lambda p: key_of("start", self.search.seed, point_key(p)))

    def spec(self, point: Point) -> TrialSpec:
        """The point as a trial of seed 0. Raises WrongPoint and SweepProblem."""
        return spec_of(self.base, point, self.resources, self.folder)

    def trials(self, point: Point, first: int) -> list[Trial]:
        """The point with each seed; `first` is the index of the first. Raises as `spec` does."""
        spec = self.spec(point)
        return [
            Trial(first + i, values_of(point), spec.model_copy(update={"seed": seed}), point)
            for i, seed in enumerate(self.sweep.seeds)
        ]

    def coordinates(self, point: Point) -> dict[str, Number]:
        """By the axis's name, the number of the choice or the value of the range."""
        known = self.dimensions
        return {
            name: setting.value if setting.index is None else setting.index
            for setting in point
            if (name := dimension_name(setting.axis)) in known
        }


def num_trials(study: Study, known: Sequence[object]) -> int:
    """Trials of a study in all: those that are known, unless a search has yet to choose some."""
    search = study.sweep.search
    if not isinstance(search, OptunaSearch):
        return len(known)
    return search.num_trials * len(study.sweep.seeds)


def space_of(loaded: LoadedStudy) -> Space:
    """The space of a study whose search is adaptive."""
    study = loaded.study
    return Space(study.sweep, base_of(loaded), study.resources, loaded.path.parent.absolute())
