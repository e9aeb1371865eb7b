"""What a fork can take of its parent's checkpoint, and where it goes on reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from mimlab.errors import UserError
from mimlab.spec.identity import START
from mimlab.spec.study import TrialSpec
from mimlab.train.export import ENCODER_PREFIX
from mimlab.train.schedule import steps_of_epochs
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.targets.base import targets

_ROWS = ("data.fingerprint", "data.subset", "data.splits.train")
_PLAN = (*_ROWS, "train.batch_size", "seed")

Shapes = dict[str, tuple[int, ...]]


def drift(parent: Mapping[str, str], fork: Mapping[str, str]) -> list[str]:
    """What differs between two identities: `masking.ratio 0.75 → 0.5`; what is not there is
    `none`."""
    keys = sorted(key for key in parent.keys() | fork.keys() if not key.startswith(START))
    pairs = [(key, parent.get(key, "none"), fork.get(key, "none")) for key in keys]
    return [f"{key} {before} → {after}" for key, before, after in pairs if before != after]


def same_rows(parent: Mapping[str, str], fork: Mapping[str, str]) -> bool:
    """Whether both train on the same images."""
    return _picked(parent, _ROWS) == _picked(fork, _ROWS)


def reads_on(parent: Mapping[str, str], fork: Mapping[str, str]) -> bool:
    """Whether both read the same batches in the same order."""
    return _picked(parent, _PLAN) == _picked(fork, _PLAN)


def taken(parent: TrialSpec, fork: TrialSpec) -> Literal["state", "encoder"]:
    """Everything, where the same is trained; else the encoder. Raises UserError where not even
    that one fits."""
    before, after = _shapes(parent), _shapes(fork)
    if _encoder(before) != _encoder(after):
        raise UserError(
            "the encoder would have other shapes than that of the checkpoint, so nothing of it can "
            "be taken; leave `backbone` and `data.image_size` as they are, or run a study of its "
            "own"
        )
    same_task = parent.objective.name == fork.objective.name
    same_task &= parent.target.name == fork.target.name
    return "state" if same_task and before == after else "encoder"


def first_step(epoch: float, num_images: int, batch_size: int) -> int:
    """Of a fork that cannot read on: the begin of the epoch in which its parent was."""
    whole = math.floor(epoch + 1e-9)
    return steps_of_epochs(whole, num_images, batch_size) if whole else 0


def _shapes(spec: TrialSpec) -> Shapes:
    """Of everything that a trial's checkpoint holds of its objective. Takes no memory."""
    with shapes_only():
        backbone = VitBackbone(spec.backbone, spec.data.image_size)
        part = targets[spec.target.name].part
        target = part(spec.target, backbone.patch_size, backbone.grid)
        built = objectives[spec.objective.name].part(spec.objective, backbone, target)
    return {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}


def _encoder(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name.startswith(ENCODER_PREFIX)}


def _picked(flat: Mapping[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    """Those keys, and what lies below them."""
    return {
        key: value
        for key, value in flat.items()
        if any(key == wanted or key.startswith(f"{wanted}.") for wanted in keys)
    }
