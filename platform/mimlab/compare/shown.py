"""How comparisons call a part of a trial."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

import mimlab_objectives
from mimlab.spec.study import REGISTRIES
from mimlab_objectives.plugins import PluginError


def shown_as(section: str, name: str, resolved: Mapping[str, Any]) -> str:
    """The name of a section's part, and more where the part asks for it (`Params.shown_as`).

    Only the name of a part that is not installed here, or that has other parameters by now.
    """
    with contextlib.suppress(PluginError):  # results are shown without the plug-ins they need
        mimlab_objectives.discover()
    if name not in REGISTRIES[section]:
        return name
    given = {key: value for key, value in resolved.items() if key != "name"}
    try:
        return REGISTRIES[section][name].params.model_validate(given).shown_as(name)
    except ValidationError:
        return name


def shown_recipe(name: str, target: Mapping[str, Any]) -> str:
    """A recipe's name, and the trial's target where that could be taken for the paper's."""
    plain = str(target.get("name"))
    shown = shown_as("target", plain, target)
    return name if shown == plain else f"{name} on {shown}"
