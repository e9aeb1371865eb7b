"""What a study would run, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from mimlab.search.bill import Bill
from mimlab.search.equal import Spending, equal_words
from mimlab.search.submission import PlannedStudy, storage_of
from mimlab.spec.points import Dimension
from mimlab.spec.space import Space
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import DONE, TrialRecord
from mimlab.train.build import build_masking
from mimlab.train.schedule import total_steps
from mimlab.train.visible_tokens import visible_tokens_per_image
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
    visible_tokens: float
    """That it is going to spend."""
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
    equal: str
    """Which budget all trials spend equally, in words; empty for a single trial."""
    space: list[PreviewAxis] | None
    """What an adaptive search chooses the other trials from."""
    num_trials: int
    """In all."""
    to_run: int
    concurrent: int | None
    """That run at once; None where a cluster is going to say."""
    bill: Bill | None = None
    """None where nothing was measured."""
    warnings: list[str] = []
    """What will not fit, and what would."""


def preview(planned: PlannedStudy, at_once: int | None = None) -> Preview:
    """Look up what is done already. Its budgets are frozen to steps; `at_once`: trials that run at
    once, if that is known. Raises UserError."""
    study, store = planned.study, storage_of(planned.study)
    trials: list[PreviewTrial] = []
    spendings: list[Spending] = []
    for record in planned.trials:
        spec = trial_spec(record.resolved)
        num_images = planned.images[record.id]
        spending = _spending(record, spec, num_images)
        spendings.append(spending)
        grid = grid_of(spec.backbone, spec.data.image_size)
        trials.append(
            PreviewTrial(
                id=record.id,
                point=record.point,
                seed=record.seed,
                hidden_patches=build_masking(spec, grid).num_hidden,
                patches=grid[0] * grid[1],
                images=num_images,
                steps=spending.steps,
                visible_tokens=spending.visible_tokens,
                state=TrialFolder(store, record.id).status().state,
            )
        )
    return Preview(
        study=study.study,
        data=str(planned.data.root),
        images=max(planned.images.values()),
        trials=trials,
        equal=equal_words(spendings),
        space=None if planned.space is None else _axes(planned.space),
        num_trials=planned.num_trials,
        to_run=planned.num_trials - sum(trial.state in DONE for trial in trials),
        concurrent=at_once,
    )


def _spending(record: TrialRecord, spec: TrialSpec, num_images: int) -> Spending:
    steps = total_steps(spec.train.budget, num_images, spec.train.batch_size)
    images = steps * spec.train.batch_size
    (asked,) = (record.budget_asked or spec.train.budget.asked).items()
    return Spending(steps, images, images * visible_tokens_per_image(spec), asked)


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
