"""From a file, a preset and `--set` overrides to a validated study that knows its lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mimlab.errors import UserError
from mimlab.spec.errors import Problem, nearest, problems_of, refuse
from mimlab.spec.overlay import NotASection, assigned, overlaid
from mimlab.spec.parts import register_parts
from mimlab.spec.paths import absolute, absolute_init, absolute_weights
from mimlab.spec.positions import (
    Keys,
    Source,
    dotted,
    keys_of,
    parse,
    read_study_file,
    read_study_text,
)
from mimlab.spec.recipes import over_recipe, recipe_places, recipe_problems, with_base_recipe
from mimlab.spec.resolve import resolved
from mimlab.spec.study import Study, study_model

_DOTTED_KEYS = ("sweep", "axes")
"""Below, a key is a dotted path itself."""

_PATHS: Mapping[Keys, Callable[[str, Path], str | None]] = {
    ("data", "images"): absolute,
    ("data", "tokens"): absolute,
    ("storage",): absolute,
    ("backbone", "init"): absolute_init,
    ("objective", "teacher", "weights"): absolute_weights,
    ("target", "teacher", "weights"): absolute_weights,
}
_SIDECARS: Keys = ("data", "sidecars")
"""A mapping of names to paths."""


@dataclass(frozen=True)
class LoadedStudy:
    """A validated study, and where each of its values was written."""

    path: Path
    text: str
    """The file as it was read."""
    study: Study
    """Resolved: defaults filled, paths absolute."""
    own: dict[str, Any]
    """The file's values, preset and overrides applied, before validation."""
    root: dict[str, Any]
    """The same over the settings of its recipe, if it names one."""
    source: Source
    preset: str | None
    overrides: tuple[str, ...]

    @property
    def options(self) -> list[str]:
        """What the command line must repeat to mean the same study."""
        preset = [] if self.preset is None else ["--preset", self.preset]
        return preset + [word for each in self.overrides for word in ("--set", each)]

    def where(self, keys: Keys) -> str:
        """The line, or the override, that says what stands at `keys`."""
        return self.source.where(keys)


def load_study(
    path: str | Path,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    *,
    origin: Path | None = None,
) -> LoadedStudy:
    """Read, overlay and validate a study.

    `origin`: the file that it is a copy of, from whose folder relative paths are then taken.

    `overrides` are `path=value`, the value in YAML: `train.budget.epochs=1`. Relative paths are
    taken from the file's folder, those of overrides from the working folder. Raises UserError that
    lists every problem as `file:line: path: message`.
    """
    path = Path(path)
    text, own, source = read_study_file(path)
    return _loaded(LoadedFile(origin or path, text, own, source), preset, overrides)


def load_study_text(
    text: str, origin: Path, preset: str | None = None, overrides: Sequence[str] = ()
) -> LoadedStudy:
    """The same of a text that was written to, or would be found in, the file `origin`."""
    own, source = read_study_text(text, origin.name)
    return _loaded(LoadedFile(origin, text, own, source), preset, overrides)


class LoadedFile(NamedTuple):
    """A study file before anything is changed."""

    path: Path
    text: str
    own: dict[str, Any]
    source: Source


def _loaded(file: LoadedFile, preset: str | None, overrides: Sequence[str]) -> LoadedStudy:
    path, text, own, source = file
    _refuse_bad_presets(own, source)
    if preset is not None:
        own, source = _with_preset(own, source, preset)
    for override in overrides:
        own, source = _with_override(own, source, override)
    study = resolved(_validated(own, source), path.parent.absolute())
    root, source = over_recipe(own, study_model()), recipe_places(own, source)
    return LoadedStudy(path, text, study, own, root, source, preset, tuple(overrides))


def _validated(own: dict[str, Any], source: Source) -> Study:
    register_parts()
    refuse(recipe_problems(own), source.where)
    root = over_recipe(with_base_recipe(own), study_model())
    source = recipe_places(own, source)
    try:
        return study_model().model_validate_json(json.dumps(root), strict=True)
    except ValidationError as error:
        refuse(problems_of(error, root, study_model()), source.where)
        raise


def _refuse_bad_presets(root: dict[str, Any], source: Source) -> None:
    """A preset is checked even where it is not asked for, once the study itself is sound."""
    study = _validated(root, source)
    for name in study.presets:
        _validated(*_with_preset(root, source, name))


def _with_preset(root: dict[str, Any], source: Source, name: str) -> tuple[dict[str, Any], Source]:
    presets = root.get("presets") or {}
    if name not in presets:
        known = f"it has {', '.join(presets)}" if presets else "it has none"
        place = source.where(("presets",))
        raise UserError(f"{place}: no preset is called {name!r}; {nearest(name, presets)}{known}")
    at: Keys = ("presets", name)
    for key in ("study", "presets"):
        if key in presets[name]:
            raise UserError(
                Problem((*at, key), "may not be changed by a preset").at(source.where((*at, key)))
            )
    return overlaid(root, presets[name], study_model()), source.moved(at, ())


def _with_override(
    root: dict[str, Any], source: Source, override: str
) -> tuple[dict[str, Any], Source]:
    place = f"--set {override}"
    keys, value = _read_override(override)
    try:
        changed = assigned(root, keys, value, study_model())
    except NotASection as error:
        raise UserError(
            f"{place}: `{dotted(error.keys)}` is a value, so nothing lies below it"
        ) from error
    return changed, source.with_place(keys, place)


def absolute_override(override: str) -> str:
    """The same change for a process that works in another folder. Raises UserError."""
    _, value = _read_override(override)
    return f"{override.partition('=')[0]}={json.dumps(value)}"


def _read_override(override: str) -> tuple[Keys, Any]:
    place = f"--set {override}"
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UserError(f"{place}: an override is `path=value`, e.g. train.budget.epochs=1")
    keys = _override_keys(path.strip())
    value, _ = parse(text, place)
    return keys, _from_shell(keys, value)


def _override_keys(path: str) -> Keys:
    prefix = ".".join(_DOTTED_KEYS) + "."
    if path.startswith(prefix):
        return (*_DOTTED_KEYS, path.removeprefix(prefix))
    return keys_of(path)


def _from_shell(keys: Keys, value: Any) -> Any:
    """A path that was typed in a shell means the shell's folder, not the study's."""
    if keys == _SIDECARS and isinstance(value, dict):
        return {name: _from_shell((*keys, name), where) for name, where in value.items()}
    read = absolute if keys[:-1] == _SIDECARS else _PATHS.get(keys)
    return read(value, Path.cwd()) if read and isinstance(value, str) and value else value
