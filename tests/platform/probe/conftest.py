"""A trial that has exported encoders, without having trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mimlab.data.manifest import DataSet
from mimlab.probe.task import ProbeOrder
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.train.build import build_objective
from mimlab.train.export import EncoderCard, write_export


class Exported(NamedTuple):
    submission: SubmissionFolder
    trial: TrialFolder
    data: DataSet
    card: EncoderCard
    """Of the last export."""
    order: ProbeOrder


@pytest.fixture
def exported(tmp_path: Path, create_tiny) -> Callable[..., Exported]:
    """Writes the tiny study's trial, with `--set` style changes, and an export of each step."""

    def write(steps: list[int], *changes: str) -> Exported:
        made = create_tiny(tmp_path, *changes)
        spec = trial_spec(made.spec)
        weights = build_objective(spec).backbone.vit.state_dict()
        cards = [
            write_export(
                made.trial,
                weights,
                step=step,
                epoch=step / 10,
                backbone=spec.backbone,
                image_size=spec.data.image_size,
            )
            for step in steps
        ]
        return Exported(made.submission, made.trial, made.data, cards[-1], made.order())

    return write
