"""What a study would run, without running it."""

from __future__ import annotations

from pydantic import BaseModel

from mimlab.search.bill import Bill
from mimlab.search.equal import Spending, equal_words
from mimlab.search.submission import PlannedStudy, storage_of, trials_at_once
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


class Preview(BaseModel):
    """A study's trials and what they need."""

    study: str
    data: str
    images: int
    """That the trial with most of them trains on."""
    trials: list[PreviewTrial]
    equal: str
    """Which budget all trials spend equally, in words; empty for a single trial."""
    to_run: int
    concurrent: int
    bill: Bill | None = None
    """None where nothing was measured."""
    warnings: list[str] = []
    """What will not fit, and what would."""


def preview(planned: PlannedStudy) -> Preview:
    """Look up what is done already. Its budgets are frozen to steps. Raises UserError."""
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
        to_run=sum(trial.state not in DONE for trial in trials),
        concurrent=trials_at_once(planned),
    )


def _spending(record: TrialRecord, spec: TrialSpec, num_images: int) -> Spending:
    steps = total_steps(spec.train.budget, num_images, spec.train.batch_size)
    images = steps * spec.train.batch_size
    (asked,) = (record.budget_asked or spec.train.budget.asked).items()
    return Spending(steps, images, images * visible_tokens_per_image(spec), asked)
