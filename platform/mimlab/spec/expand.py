"""From a study to its trials. Pure: the same file gives the same trials in the same order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mimlab.errors import UserError
from mimlab.spec.axes import axis_problems
from mimlab.spec.errors import Problem, problems_of, refuse
from mimlab.spec.load import LoadedStudy
from mimlab.spec.overlay import NotASection, assigned
from mimlab.spec.points import Point, Setting, SweepProblem, points_of
from mimlab.spec.positions import Keys, Source, dotted
from mimlab.spec.recipes import RECIPE, implied_axes, over_recipe, speaks_of
from mimlab.spec.resolve import resolved_backbone, resolved_data, resolved_parts
from mimlab.spec.stored import read_target
from mimlab.spec.study import Resources, TrialSpec, trial_model, trial_spec
from mimlab.spec.sweep import Scalar
from mimlab_objectives.registry import ParamsError

_SHOWN = 3
"""Points that a message names before it counts the rest."""


MAX_TRIALS = 20_000
"""Of a study: each has a folder, a record and a run in MLflow."""


@dataclass(frozen=True)
class Trial:
    """One point of a study with one seed."""

    index: int
    point: dict[str, Scalar]
    """The values of the study's axes, by dotted path; a list is shown as JSON."""
    spec: TrialSpec
    settings: Point

    @property
    def label(self) -> str:
        """The point and the seed, for people."""
        return ", ".join([*named(self.settings), f"seed={self.spec.seed}"])


def expand(loaded: LoadedStudy) -> list[Trial]:
    """Every trial of a study: points in the order of the axes, seeds innermost.

    Each point is validated as a whole; whether its parts fit together is for `checks`. Raises
    UserError that lists every problem with the line of the axis value that makes it.
    """
    refuse_axes(loaded)
    sweep = loaded.study.sweep
    base = base_of(loaded)
    try:
        points = points_of(sweep, lambda point: built(base, point))
    except SweepProblem as error:
        raise UserError(error.problem.at(loaded.where(error.problem.keys))) from error
    if len(points) * len(sweep.seeds) > MAX_TRIALS:
        raise UserError(
            f"{loaded.where(('sweep', 'seeds'))}: sweep.seeds: {len(sweep.seeds)} seeds of each of "
            f"{len(points)} points are more than {MAX_TRIALS:,} trials; list fewer"
        )
    specs = _validated(loaded, base, points)
    pairs = [
        (point, spec.model_copy(update={"seed": seed}))
        for point, spec in zip(points, specs, strict=True)
        for seed in sweep.seeds
    ]
    return [Trial(i, values_of(point), spec, point) for i, (point, spec) in enumerate(pairs)]


def refuse_axes(loaded: LoadedStudy) -> None:
    """Raises UserError for axes, groups and conditions that are wrong by themselves."""
    whole = loaded.preset is None and not loaded.overrides
    implied = tuple(implied_axes(loaded.own, trial_model()))
    problems = axis_problems(loaded.study.sweep, loaded.root, implied, whole=whole)
    refuse(problems, loaded.where)


def base_of(loaded: LoadedStudy) -> dict[str, Any]:
    """The sections of a trial as the study gives them, without defaults, and its recipe."""
    return {key: loaded.own[key] for key in TrialSpec.model_fields if key in loaded.own}


def built(base: dict[str, Any], point: Point) -> dict[str, Any]:
    """The base with a point's settings made: whole sections first, then names, then the rest.

    Under all of it lies the recipe of the point, or else of the base. Raises SweepProblem.
    """
    recipe = {setting.path: setting.value for setting in point if setting.path == RECIPE}
    root: Any = over_recipe(base | recipe, trial_model())
    made: set[str] = set()
    for setting in sorted(point, key=lambda s: (len(s.keys), s.keys[-1] != "name")):
        if setting.path in made:
            message = (
                f"`{setting.path}` is set by two axes at once; make their conditions exclusive"
            )
            raise SweepProblem(Problem(setting.axis, message))
        made.add(setting.path)
        try:
            root = assigned(root, setting.keys, setting.value, trial_model())
        except NotASection as error:
            message = f"`{dotted(error.keys)}` is a value, so nothing lies below it"
            raise SweepProblem(Problem(setting.axis, message)) from error
    return root


def _validated(
    loaded: LoadedStudy, base: dict[str, Any], points: Sequence[Point]
) -> list[TrialSpec]:
    folder = loaded.path.parent.absolute()
    specs: list[TrialSpec] = []
    found: list[tuple[Point, Problem]] = []
    for point in points:
        try:
            specs.append(spec_of(base, point, loaded.study.resources, folder))
        except WrongPoint as error:
            found += [(point, problem) for problem in error.problems]
    refuse_points(found, len(points), loaded.source, remedy=False)
    return specs


class WrongPoint(Exception):
    """A point that gives no valid trial; `problems` says why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(*(problem.message for problem in problems))
        self.problems = problems


def spec_of(base: dict[str, Any], point: Point, resources: Resources, folder: Path) -> TrialSpec:
    """The base with a point's settings as a trial of seed 0, its paths taken from `folder`.

    Raises SweepProblem and WrongPoint.
    """
    root = built(base, point) | {"seed": 0}
    try:
        spec = trial_spec(root)
    except ValidationError as error:
        raise WrongPoint(problems_of(error, root, trial_model())) from error
    data = resolved_data(spec.data, folder, resources)
    try:
        stored = read_target(spec.target, data)
    except ParamsError as error:
        raise WrongPoint([Problem(("target", *error.field.split(".")), str(error))]) from error
    update = {
        "data": data,
        "backbone": resolved_backbone(spec.backbone, folder),
        **resolved_parts(spec, folder),
        **stored,
    }
    return spec.model_copy(update=update)


def refuse_points(
    found: Iterable[tuple[Point, Problem]], num_points: int, source: Source, *, remedy: bool
) -> None:
    """Raise a UserError with each problem once, naming the points that have it.

    `remedy`: suggest `exclude`, for values that are sound but do not fit together.
    """
    lines: dict[str, list[Point]] = {}
    for point, problem in found:
        at = lines.setdefault(problem.at(place_of(point, problem, source)), [])
        # A value that is wrong by itself is wrong everywhere: its line says enough.
        if (remedy or setting_of(point, problem.keys) is None) and point not in at:
            at.append(point)
    if lines:
        raise UserError(
            "\n".join(
                line + (_points_text(at, remedy=remedy) if 0 < len(at) < num_points else "")
                for line, at in lines.items()
            )
        )


def _points_text(points: Sequence[Point], *, remedy: bool) -> str:
    shown = "; ".join(", ".join(named(point)) for point in points[:_SHOWN])
    more = f" and {len(points) - _SHOWN} more" if len(points) > _SHOWN else ""
    text = f" (at {shown}{more})"
    if not remedy:
        return text
    leave_out = ", ".join(
        "{" + ", ".join(f"{s.path}: {_text(s.value)}" for s in point) + "}"
        for point in points[:_SHOWN]
    )
    return f"{text}; or leave it out with `exclude: [{leave_out}]`"


def place_of(point: Point, problem: Problem, source: Source) -> str:
    """The line of the axis, or of its value or recipe, that made what is wrong, or of the base."""
    keys = problem.keys
    if problem.kind == "unknown":
        axes = [setting.axis for setting in point if setting.keys[: len(keys)] == keys]
        if axes:
            return source.where(axes[0])
    if (setting := setting_of(point, keys)) is not None:
        return source.where(setting.origin + keys[len(setting.keys) :])
    if problem.kind == "missing":
        setting = setting_of(point, (*keys[:-1], "name"))
        return source.where(keys if setting is None else setting.origin)
    recipe = setting_of(point, (RECIPE,))
    if recipe is None or source.knows(keys) or not speaks_of(recipe.value, keys):
        return source.where(keys)
    return f"{source.where(recipe.origin)} (recipe {recipe.value})"


def setting_of(point: Point, keys: Keys) -> Setting | None:
    """The innermost setting that gives what stands at `keys`."""
    around = [setting for setting in point if keys[: len(setting.keys)] == setting.keys]
    return max(around, key=lambda setting: len(setting.keys), default=None)


def named(point: Point) -> list[str]:
    """`masking.ratio=0.75` for each setting."""
    return [f"{setting.path}={_text(setting.value)}" for setting in point]


def values_of(point: Point) -> dict[str, Scalar]:
    """The settings by path, whole mappings key by key."""
    values: dict[str, Scalar] = {}
    for setting in point:
        values |= _flat(setting.path, setting.value)
    return values


def _flat(path: str, value: Any) -> dict[str, Scalar]:
    if isinstance(value, dict):
        return {
            k: v for key, part in value.items() for k, v in _flat(f"{path}.{key}", part).items()
        }
    return {path: _text(value) if isinstance(value, list) else value}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
