"""What a study would run, without running it."""

from __future__ import annotations

from pydantic import BaseModel

from mimlab.search.bill import Bill
from mimlab.search.submission import PlannedStudy, storage_of, trials_at_once
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


class Preview(BaseModel):
    """A study's trials and what they need."""

    study: str
    data: str
    images: int
    """That the trial with most of them trains on."""
    trials: list[PreviewTrial]
    to_run: int
    concurrent: int
    bill: Bill | None = None
    """None where nothing was measured."""
    warnings: list[str] = []
    """What will not fit, and what would."""


def preview(planned: PlannedStudy) -> Preview:
    """Look up what is done already. Raises UserError."""
    study, store = planned.study, storage_of(planned.study)
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
        to_run=sum(trial.state not in DONE for trial in trials),
        concurrent=trials_at_once(planned),
    )
