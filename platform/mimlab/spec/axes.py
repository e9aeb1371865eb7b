"""What can be wrong with the axes of a study before any point is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mimlab.spec.errors import Problem, nearest
from mimlab.spec.points import agrees
from mimlab.spec.positions import Keys, keys_of
from mimlab.spec.shape import lookup
from mimlab.spec.study import Study, TrialSpec
from mimlab.spec.sweep import Axes, GridSearch, Range, SweepConfig

_SECTIONS = tuple(name for name in TrialSpec.model_fields if name != "seed")


def axis_problems(
    sweep: SweepConfig,
    root: Mapping[str, Any],
    implied: Sequence[tuple[str, list[Any]]] = (),
    *,
    whole: bool,
) -> Iterator[Problem]:
    """Everything wrong with axes, groups and conditions, each at its place.

    `implied`: paths that an axis over something else sets, and their values.
    `whole`: the study is read as it was written, without preset or `--set`. Only then is a value
    that no axis has a mistake; otherwise its axis may have been narrowed.
    """
    at: Keys = ("sweep", "axes")
    yield from _axes_problems(sweep.axes, at, sweep)
    yield from _zip_problems(sweep)
    for number, when in enumerate(sweep.when):
        place: Keys = ("sweep", "when", number)
        yield from _axes_problems(when.axes, (*place, "axes"), sweep)
        for path in when.axes.keys() & sweep.axes.keys():
            message = "is an axis of every point already; take it out of one of the two"
            yield Problem((*place, "axes", path), message)
        yield from _condition_problems(
            when.condition, (*place, "if"), sweep, root, implied, whole=whole
        )
    for number, condition in enumerate(sweep.exclude):
        place = ("sweep", "exclude", number)
        yield from _condition_problems(condition, place, sweep, {}, implied, whole=whole)


def _axes_problems(axes: Axes, at: Keys, sweep: SweepConfig) -> Iterator[Problem]:
    for path, axis in axes.items():
        keys = (*at, path)
        if (message := _section_message(str(keys_of(path)[0]))) is not None:
            yield Problem(keys, message)
        if isinstance(axis, Range):
            if isinstance(sweep.search, GridSearch):
                yield Problem(
                    keys,
                    "a continuous axis needs `search: {name: random, num_trials: …}`; a grid "
                    "takes a list of values, and `search: {name: optuna, …}` takes both",
                )
            continue
        for number, value in enumerate(axis):
            if value in axis[:number]:
                yield Problem((*keys, number), f"{value} is listed twice")


def _section_message(section: str) -> str | None:
    """Why an axis cannot lie in a section; None where it can."""
    if section in _SECTIONS:
        return None
    if section in ("seed", "seeds"):
        return "seeds are no axis; list them under `sweep.seeds`"
    legal = f"an axis varies {', '.join(_SECTIONS)}"
    if section in Study.model_fields:
        return f"`{section}` is the same for every trial; {legal}"
    return f"unknown key; {nearest(section, _SECTIONS)}{legal[:1].upper()}{legal[1:]}"


def _zip_problems(sweep: SweepConfig) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, group in enumerate(sweep.zip):
        at: Keys = ("sweep", "zip", number)
        lengths: dict[str, int] = {}
        for path in group:
            axis = sweep.axes.get(path)
            if axis is None:
                yield Problem(at, f"{_no_axis(path, sweep.axes)}; a group names axes of `axes`")
            elif isinstance(axis, Range):
                yield Problem(at, f"`{path}` is continuous; only lists of values vary together")
            elif path in seen:
                yield Problem(at, f"`{path}` is in two groups; it can be in one")
            else:
                lengths[path] = len(axis)
            seen.add(path)
        if len(group) < 2:
            yield Problem(at, "one axis varies alone; a group names two or more")
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"`{path}` has {count}" for path, count in lengths.items())
            yield Problem(at, f"axes that vary together need equally many values; {counts}")


def _condition_problems(
    condition: Mapping[str, Any],
    at: Keys,
    sweep: SweepConfig,
    root: Mapping[str, Any],
    implied: Sequence[tuple[str, list[Any]]],
    *,
    whole: bool,
) -> Iterator[Problem]:
    axes = [*sweep.axes.items(), *(axis for when in sweep.when for axis in when.axes.items())]
    for path, asked in condition.items():
        values = _values(path, [*axes, *implied])
        if values is None:
            continue
        base = lookup(root, keys_of(path))
        if not values and base is None:
            yield Problem((*at, path), _no_axis(path, dict(axes)))
        elif whole:
            yield from _never(asked, values or [base], (*at, path))


def _values(path: str, axes: Sequence[tuple[str, Any]]) -> list[Any] | None:
    """The values that axes give a path, none where no axis does; None for a continuous axis."""
    found: list[Any] = []
    for axis_path, axis in axes:
        if path != axis_path and not path.startswith(f"{axis_path}."):
            continue
        if isinstance(axis, Range):
            return None
        inside = keys_of(path)[len(keys_of(axis_path)) :]
        found += [lookup(value, inside) for value in axis]
    return found


def _never(asked: Any, values: list[Any], keys: Keys) -> Iterator[Problem]:
    choices = ", ".join(str(value) for value in values)
    for one in asked if isinstance(asked, list) and asked not in values else [asked]:
        if not any(agrees(value, one) for value in values):
            yield Problem(keys, f"is never {one}; it is {choices}")


def _no_axis(path: str, axes: Mapping[str, Any]) -> str:
    listed = ", ".join(f"`{axis}`" for axis in axes) or "none"
    return f"`{path}` is no axis; {nearest(path, axes)}The axes are {listed}"
