"""What a step of each objective costs beside MAE's, counted without computing it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch

from mimlab.spec.checks import pairing_problem, target_problem
from mimlab.spec.parts import register_parts
from mimlab.train.flops import step_flops
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import Masking, MaskRequest, maskings
from mimlab_objectives.objectives.base import Batch, Objective, objectives
from mimlab_objectives.registry import Entry
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.targets.base import targets

BACKBONE = BackboneParams(name="vit_base_patch16_224")
IMAGE_SIZE = 224
RATIO = 0.75
IMAGES = 2


def relative_cost(objective: str) -> float | None:
    """FLOPs of a step at ViT-B/16, 224 px and 75 % hidden, over those of MAE on pixels.

    Forward and backward pass of what trains, forward pass of teachers; what the optimizer, the
    masking and the stream do does not count. The target is the first one that the objective can
    predict, pixels if it can; `random` hides, or the first masking that the objective takes. None
    where no step can be counted: nothing fits, or a part has parameters without defaults, needs
    files, or reads values on the way.
    """
    register_parts()
    part = objectives[objective].part
    target = _first("pixels", targets.entries(), lambda other: target_problem(part, other))
    counted = None if target is None else _flops(objective, target.name)
    return None if counted is None else counted / _flops_of_mae()


def target_cost(target: str) -> float | None:
    """FLOPs of a step that predicts a target, over those of MAE on pixels; by MAE, or the first
    objective that predicts it. None as above."""
    register_parts()
    part = targets[target].part
    objective = _first("mae", objectives.entries(), lambda other: target_problem(other, part))
    counted = None if objective is None else _flops(objective.name, target)
    return None if counted is None else counted / _flops_of_mae()


def _flops_of_mae() -> int:
    found = _flops("mae", "pixels")
    assert found is not None
    return found


@functools.cache
def _flops(objective: str, target: str) -> int | None:
    part, wanted = objectives[objective], targets[target]
    masking = _masking_of(part.part)
    if masking is None:
        return None
    try:
        with shapes_only():
            backbone = VitBackbone(BACKBONE, IMAGE_SIZE)
            built = wanted.part(wanted.params(), backbone.patch_size, backbone.grid)
            module = part.part(part.params(), backbone, built).train()
            images = torch.zeros(IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE)
            labels = torch.zeros(IMAGES, dtype=torch.int64)
            batch = Batch(torch.arange(IMAGES), images, labels)
        request = MaskRequest(torch.arange(IMAGES))
        plan = masking.plan(request).to(torch.device("meta"))
        return step_flops(module, batch, plan)
    except (ValueError, RuntimeError, NotImplementedError, OSError):
        return None  # not countable without values: see `relative_cost`


def _masking_of(objective: type[Objective]) -> Masking | None:
    def problem(part: type[Masking]) -> str | None:
        return "needs signals" if part.requires else pairing_problem(objective, part)

    entry = _first("random", maskings.entries(), problem)
    if entry is None:
        return None
    grid = (IMAGE_SIZE // 16, IMAGE_SIZE // 16)
    given = {"ratio": RATIO} if "ratio" in entry.params.model_fields else {}
    return entry.part(entry.params.model_validate(given), grid)


def _first(
    preferred: str, entries: Iterable[Entry[Any]], problem: Callable[[type[Any]], str | None]
) -> Entry[Any] | None:
    """The first part without a problem, `preferred` before all others."""
    ordered = sorted(entries, key=lambda entry: entry.name != preferred)
    return next((entry for entry in ordered if not problem(entry.part)), None)
