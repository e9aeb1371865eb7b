"""Shapes: trials whose steps do the same arithmetic, so that one of them tells for all."""

from __future__ import annotations

import json

from mimlab.search.submission import PlannedStudy
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.records import TrialRecord
from mimlab.train.build import build_masking
from mimlab_objectives.backbones.vit import grid_of


def shapes(planned: PlannedStudy) -> list[list[TrialRecord]]:
    """The trials grouped by shape, in the study's order."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in planned.trials:
        groups.setdefault(shape_of(trial_spec(record.resolved)), []).append(record)
    return list(groups.values())


def shape_of(spec: TrialSpec) -> str:
    """Everything that a step's cost depends on, as a key."""
    masking = build_masking(spec, grid_of(spec.backbone, spec.data.image_size))
    return json.dumps(
        {
            "image_size": spec.data.image_size,
            "backbone": spec.backbone.model_dump(exclude={"drop_path"}),
            "objective": spec.objective.model_dump(),
            "target": spec.target.model_dump(),
            "batch": [spec.train.batch_size, spec.train.accumulate, spec.train.precision],
            "hidden": [masking.num_hidden, masking.rounds, sorted(masking.requires)],
        }
    )
