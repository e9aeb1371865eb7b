"""Whether an adaptive search has something to choose from: a look at its space before it starts.

A part of a space may be impossible, and is then avoided. What is no corner but a mistake is
refused: a space in which nothing can run, a listed value with which nothing can, too few points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mimlab.errors import UserError
from mimlab.spec.errors import Problem
from mimlab.spec.expand import WrongPoint, place_of
from mimlab.spec.points import Point, Setting, SweepProblem
from mimlab.spec.positions import Keys, Source
from mimlab.spec.space import Space
from mimlab.spec.study import TrialSpec

SURVEYED = 200
"""Points that are looked at; a space that has no more is looked at whole."""
ENOUGH = 20
"""Of them with one listed value: if none can run, the value is taken for the reason."""
_REASONS = 5
"""Most reasons that a message gives."""

Check = Callable[[TrialSpec], Iterable[Problem]]
"""What does not fit in a trial."""
Refused = tuple[Point, list[Problem]]


@dataclass(frozen=True)
class Survey:
    """What was found when points of a space were looked at."""

    whole: bool
    """Whether these are all points that there are."""
    allowed: list[Point] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def problems_at(space: Space, point: Point, check: Check) -> list[Problem]:
    """Why a point cannot run; empty if it can. Raises SweepProblem."""
    try:
        return list(check(space.spec(point)))
    except WrongPoint as error:
        return list(error.problems)


def start_points(space: Space, check: Check, source: Source) -> list[Point]:
    """The points that a search begins with, known to be able to run. Raises UserError."""
    try:
        survey = _surveyed(space, check)
    except SweepProblem as error:
        raise UserError(error.problem.at(source.where(error.problem.keys))) from error
    _refuse_empty(survey, source)
    _refuse_dead_values(survey, source)
    _refuse_few(survey, space.search.num_trials, source)
    return survey.allowed[: min(space.search.startup_trials, space.search.num_trials)]


def _surveyed(space: Space, check: Check) -> Survey:
    every = space.every()
    whole = every is not None and len(every) <= SURVEYED
    survey = Survey(whole)
    for point in every if every and whole else islice(space.drawn(2 * SURVEYED), SURVEYED):
        problems = problems_at(space, point, check)
        if problems:
            survey.refused.append((point, problems))
        else:
            survey.allowed.append(point)
    return survey


def _refuse_empty(survey: Survey, source: Source) -> None:
    if survey.allowed:
        return
    if not survey.refused:
        keys: Keys = ("sweep", "exclude")
        raise UserError(Problem(keys, "leaves out every point").at(source.where(keys)))
    looked = f"{len(survey.refused)} points" + ("" if survey.whole else " drawn from it")
    message = f"nothing in this space can run; of {looked}, each is refused for one of:"
    _raise(("sweep", "axes"), message, survey.refused, source)


def _refuse_dead_values(survey: Survey, source: Source) -> None:
    alive = {setting.origin for point in survey.allowed for setting in point}
    dead: dict[Keys, tuple[Setting, list[Refused]]] = {}
    for refused in survey.refused:
        for setting in refused[0]:
            if setting.index is not None and setting.origin not in alive:
                dead.setdefault(setting.origin, (setting, []))[1].append(refused)
    for origin, (setting, refused) in dead.items():
        if survey.whole or len(refused) >= ENOUGH:
            _raise(origin, f"nothing with {setting.value} can run:", refused, source)


def _refuse_few(survey: Survey, num_trials: int, source: Source) -> None:
    count = len(survey.allowed)
    if survey.whole and count < num_trials:
        keys: Keys = ("sweep", "search", "num_trials")
        message = (
            f"asks for {num_trials} points, but the space has only {count} that can run; lower "
            "it, or use `search: {name: grid}`"
        )
        raise UserError(Problem(keys, message).at(source.where(keys)))


def _raise(keys: Keys, message: str, refused: Sequence[Refused], source: Source) -> None:
    """With the commonest reasons, a line each."""
    counts: dict[str, int] = {}
    for point, problems in refused:
        for problem in problems:
            line = problem.at(place_of(point, problem, source))
            counts[line] = counts.get(line, 0) + 1
    reasons = sorted(counts, key=lambda line: -counts[line])[:_REASONS]
    raise UserError("\n".join([Problem(keys, message).at(source.where(keys)), *reasons]))
