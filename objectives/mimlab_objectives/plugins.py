"""Parts of other packages: modules that an entry point names are imported and register theirs.

A package offers them in its `pyproject.toml`:

    [project.entry-points."mimlab.parts"]
    checkerboard = "checkerboard_parts"
"""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

GROUP = "mimlab.parts"


class PluginError(Exception):
    """A plug-in that cannot be loaded; says which package, which entry point and why."""


@dataclass(frozen=True)
class Plugin:
    """A package whose parts are registered."""

    package: str
    """Name of the distribution, as it was installed."""
    version: str
    code: Path
    """Folder of the top-level package, or file of the module, that the entry point names."""
    metadata: Path | None
    """Folder that makes the entry point known where it lies on Python's path; None if the
    installation does not list it."""


@functools.cache
def load_plugins() -> tuple[Plugin, ...]:
    """Import every plug-in that is installed, once, by package and name. Raises PluginError."""
    found = sorted(entry_points(group=GROUP), key=lambda point: (_package(point), point.name))
    return tuple(_load(point) for point in found)


def _load(point: EntryPoint) -> Plugin:
    try:
        importlib.import_module(point.module)
        code = _code_of(point.module)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PluginError(
            f"plug-in {_package(point)}: entry point {point.name} = {point.value} cannot be "
            f"loaded: {type(error).__name__}: {reason}; repair the package or uninstall it"
        ) from error
    version = point.dist.version if point.dist else ""
    return Plugin(_package(point), version, code, _metadata_of(point))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def _code_of(module: str) -> Path:
    top = sys.modules[module.partition(".")[0]]
    if hasattr(top, "__path__"):
        return Path(next(iter(top.__path__)))
    if top.__file__ is None:
        raise ImportError(f"{module} has no source file")
    return Path(top.__file__)


def _metadata_of(point: EntryPoint) -> Path | None:
    files = (point.dist.files if point.dist else None) or []
    listed = (file for file in files if file.name == "entry_points.txt")
    return next((Path(str(file.locate())).parent for file in listed), None)
