"""A probe as the command line asks for it, without a study around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from mimlab.errors import UserError
from mimlab.probe.base import Probe
from mimlab.probe.config import ProbeConfig
from mimlab.spec.errors import problems_of, refuse
from mimlab.spec.overlay import NotASection, assigned
from mimlab.spec.positions import Source, dotted, keys_of, parse
from mimlab.spec.section import Section

FIXED = {
    "probe.name": "`--probe` names it",
    "probe.at": "a study says when its probes run; --all-steps probes every export",
    "probe.every_epochs": "a study says when its probes run; --all-steps probes every export",
}
"""Keys that cannot be set here, and why."""


class _Asked(Section):
    """What the command line says, laid out as a study would be."""

    probe: ProbeConfig


def asked_probe(name: str, overrides: Sequence[str] = ()) -> Probe:
    """The probe called `name`; `overrides` are `probe.key=value`, the value in YAML.

    Raises UserError that names the option, what is wrong with it and what would be right.
    """
    root: dict[str, Any] = {"probe": {"name": name, "at": "end"}}
    source = Source(f"--probe {name}", {})
    for override in overrides:
        root, source = _with(root, source, override)
    try:
        return _Asked.model_validate_json(json.dumps(root), strict=True).probe
    except ValidationError as error:
        refuse(problems_of(error, root, _Asked), source.where)
        raise


def _with(root: dict[str, Any], source: Source, override: str) -> tuple[dict[str, Any], Source]:
    place = f"--set {override}"
    path, equals, text = override.partition("=")
    keys = keys_of(path.strip())
    if not equals or keys[0] != "probe" or len(keys) < 2:
        raise UserError(f"{place}: a key of the probe is `probe.key=value`, e.g. probe.epochs=5")
    if dotted(keys) in FIXED:
        raise UserError(f"{place}: {FIXED[dotted(keys)]}")
    value, _ = parse(text, place)
    try:
        return assigned(root, keys, value, _Asked), source.with_place(keys, place)
    except NotASection as error:
        at = dotted(error.keys)
        raise UserError(f"{place}: `{at}` is a value, so nothing lies below it") from error
