"""What a study would run, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from mimlab.search.submission import plan_study, storage_of, trials_at_once
from mimlab.spec.load import LoadedStudy
from mimlab.spec.points import Dimension
from mimlab.spec.space import Space
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import DONE
from mimlab.train.build import build_masking
from mimlab.train.schedule import total_steps
from mimlab_objectives.backbones.vit import grid_of


class PreviewTrial(BaseModel):
    """One trial."""

    id: str
    point: dict[str, str | int | float | bool | None]
    seed: int
    hidden_patches: int
    patches: int
    images: int
    """That it trains on."""
    steps: int
    state: str
    """`pending`, or what an identical trial in the storage has come to."""


class PreviewAxis(BaseModel):
    """One axis of an adaptive search, or axes that vary together."""

    paths: list[str]
    condition: dict[str, Any]
    """Paths and the values that they must have for the axis to exist; empty: it always does."""
    values: list[Any] | None = None
    """Of a list; of axes that vary together, a list for each choice."""
    low: float | None = None
    """Of a range, as are the next three."""
    high: float | None = None
    log: bool = False
    integer: bool = False


class Preview(BaseModel):
    """A study's trials and what they need."""

    study: str
    data: str
    images: int
    """That the trial with most of them trains on."""
    trials: list[PreviewTrial]
    """Of an adaptive search, those that it begins with."""
    space: list[PreviewAxis] | None
    """What an adaptive search chooses the other trials from."""
    num_trials: int
    """In all."""
    to_run: int
    concurrent: int


def preview(loaded: LoadedStudy) -> Preview:
    """Expand, check and look up what is done already. Raises UserError."""
    planned = plan_study(loaded)
    study, store = loaded.study, storage_of(loaded.study)
    trials = []
    for record in planned.trials:
        spec = trial_spec(record.resolved)
        num_images = planned.images[record.id]
        grid = grid_of(spec.backbone, spec.data.image_size)
        trials.append(
            PreviewTrial(
                id=record.id,
                point=record.point,
                seed=record.seed,
                hidden_patches=build_masking(spec, grid).num_hidden,
                patches=grid[0] * grid[1],
                images=num_images,
                steps=total_steps(spec.train.budget, num_images, spec.train.batch_size),
                state=TrialFolder(store, record.id).status().state,
            )
        )
    return Preview(
        study=study.study,
        data=str(planned.data.root),
        images=max(planned.images.values()),
        trials=trials,
        space=None if planned.space is None else _axes(planned.space),
        num_trials=planned.num_trials,
        to_run=planned.num_trials - sum(trial.state in DONE for trial in trials),
        concurrent=trials_at_once(planned),
    )


def _axes(space: Space) -> list[PreviewAxis]:
    return [_axis(axis, condition) for condition, group in space.conditions for axis in group]


def _axis(dimension: Dimension, condition: Mapping[str, Any]) -> PreviewAxis:
    axis = dimension.range
    if axis is None:
        paths = [setting.path for setting in dimension.choices[0]]
        together = [[setting.value for setting in choice] for choice in dimension.choices]
        values = [choice[0] for choice in together] if len(paths) == 1 else together
        return PreviewAxis(paths=paths, condition=dict(condition), values=values)
    return PreviewAxis(paths=[dimension.path], condition=dict(condition), **axis.model_dump())
