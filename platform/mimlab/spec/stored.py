"""Whether a token store fits a trial, by what its manifest says; its content is checked later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mimlab.data.sidecar import SIDECAR, SidecarManifest, read_manifest
from mimlab.errors import UserError
from mimlab.spec.errors import Problem
from mimlab.spec.study import DataConfig, Part, TrialSpec
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import place_of
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.stored import StorableParams, StoredParams

_AT = ("data", "tokens")


def read_target(target: Part, data: DataConfig) -> dict[str, Any]:
    """The target of a trial that reads a token store, as `target`; nothing where it reads none, or
    one that `stored_problems` refuses. Raises ParamsError as `StorableParams.reading`."""
    if data.tokens is None or not isinstance(target, StorableParams):
        return {}
    try:
        found = _manifest(data.tokens)
    except UserError:
        return {}
    if found.kind != target.stored_kind or found.encoder is None:
        return {}
    stored = StoredParams(label=found.encoder.label, width=found.encoder.width)
    return {"target": target.reading(stored)}


def stored_problems(spec: TrialSpec, grid: Grid) -> Iterator[Problem]:
    """Why a trial cannot be trained from its store, whose patches are to be those of `grid`."""
    place, target = spec.data.tokens, spec.target
    storable = isinstance(target, StorableParams)
    if place is None:
        if storable and target.stored is not None:
            message = "is found in a token store, and none is named: data.tokens"
            yield Problem(("target", "stored"), message)
        return
    if not storable:
        names = [e.name for e in targets.entries() if issubclass(e.params, StorableParams)]
        yield Problem(
            _AT,
            f"{place}: {target.name} is not read from a store, so this one would have no effect; "
            f"leave it out, or take another target ({', '.join(names)})",
        )
        return
    try:
        found = _manifest(place)
    except UserError as error:
        yield Problem(_AT, str(error))
        return
    differences = list(_differences(found, spec, grid))
    if found.kind != target.stored_kind:
        differences = [f"holds {found.kind}, but target {target.name} is {target.stored_kind}"]
    for difference in differences:
        yield Problem(_AT, f"{place}: {difference}")


def _manifest(place: str) -> SidecarManifest:
    """Of a store. Raises UserError where there is none."""
    try:
        root = place_of(place)
        if not (root / SIDECAR).is_file():
            raise UserError(
                f"{root}: no {SIDECAR}, so this is no token store, or one that is not finished; "
                "make it with `mimlab tokens encode`"
            )
        found = read_manifest(root)
    except RemoteError as error:
        raise UserError(str(error)) from error
    if found.views is None or found.encoder is None:
        raise UserError(
            f"{root}: a sidecar of kind {found.kind}, not a token store; maps are named by "
            "data.sidecars"
        )
    return found


def _differences(found: SidecarManifest, spec: TrialSpec, grid: Grid) -> Iterator[str]:
    """Between what was encoded and what is to be trained on, each with what would be right."""
    views, encoder, data = found.views, found.encoder, spec.data
    assert views is not None and encoder is not None  # a store, by `_manifest`
    if views.image_size != data.image_size:
        yield (
            f"was encoded for data.image_size {views.image_size}, and this is {data.image_size}; "
            "train at that size, or encode again"
        )
    for name, theirs in views.augment:
        ours = getattr(data.augment, name)
        if theirs != ours:
            yield (
                f"was encoded with data.augment.{name} {_text(theirs)}, and this is {_text(ours)}; "
                "train with that, or encode again"
            )
    if encoder.grid != grid:
        yield (
            f"has {_times(encoder.grid)} patches a view, and {spec.backbone.name} makes "
            f"{_times(grid)} at {data.image_size} px; take another patch size or another tokenizer"
        )
    splits = [split.name for split in found.splits]
    if data.splits.train not in splits:
        yield (
            f"has no split {data.splits.train}, which is trained on; it has {', '.join(splits)}: "
            "encode that one, too"
        )


def _text(value: float | tuple[float, ...]) -> str:
    return str(list(value)) if isinstance(value, tuple) else f"{value:g}"


def _times(grid: Grid) -> str:
    return f"{grid[0]} × {grid[1]}"
