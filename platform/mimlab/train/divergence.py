"""What is written down of a step whose loss or gradient is not finite."""

from __future__ import annotations

import shlex

import numpy as np
from jaxtyping import Int64

from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import Record
from mimlab.train.loop import TrainingRun
from mimlab.train.meter import Diverged

FOLDER = "diverged"
SHOWN = 5
"""Samples that a reason names; the file has all."""


class StepFigures(Record):
    """One step before or at a divergence."""

    step: int
    lr: float
    """Learning rate of the parameter groups with scale 1."""
    figures: dict[str, float]
    """`loss`, `grad_norm` and the others that a step gives (`mimlab.train.stepper`)."""


class DivergenceRecord(Record):
    """Which samples, and what went before: enough to run the step again."""

    step: int
    """Counted from 0: so many steps went well."""
    epoch: float
    ids: list[int]
    """Samples of the step's global batch, as the read plan has them: another sample stands in the
    place of one that could not be read."""
    epochs: list[int]
    not_finite: list[int]
    """Those of `ids` whose own loss is not finite: none where the gradient alone is not, or where
    the objective's loss does not decompose over patches."""
    last_steps: list[StepFigures]
    """Up to the step at which it was noticed, which may be later."""
    scaler: dict[str, float]
    """State of the gradient scaler when it was noticed; empty but in fp16."""
    checkpoint: int
    """The newest one that leads to the step; 0: the beginning."""
    replay: str
    """The command that runs the step again."""

    @property
    def reason(self) -> str:
        """Why the trial ended, in a line."""
        return (
            f"loss or gradient of step {self.step} is not finite{self._samples}: see "
            f"{FOLDER}/{self.step:09d}.json in the trial's folder; replay it with: {self.replay}"
        )

    @property
    def _samples(self) -> str:
        found = self.not_finite
        if not found:
            return ""
        if len(found) == len(self.ids):
            return f" (all {len(found)} samples)"
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        word = "sample" if len(found) == 1 else "samples"
        return f" ({word} {', '.join(map(str, found[:SHOWN]))}{more})"


def write_divergence(trial: TrialFolder, record: DivergenceRecord) -> None:
    trial.store.write_record(_path(trial, record.step), record)


def divergences(trial: TrialFolder) -> list[DivergenceRecord]:
    """Every one that is recorded, by step. Raises UserError where one cannot be read."""
    names = trial.store.list(trial.file(FOLDER))
    paths = (trial.file(f"{FOLDER}/{name}") for name in names)
    found = (trial.store.read_record(path, DivergenceRecord) for path in paths)
    return [record for record in found if record is not None]


def divergence_of(
    error: Diverged,
    samples: tuple[Int64[np.ndarray, " batch"], Int64[np.ndarray, " batch"]],
    run: TrainingRun,
    trial: TrialFolder,
) -> DivergenceRecord:
    """The record of a trial that diverged; `samples`: ids and epochs of that step's batch."""
    ids, epochs = samples
    first = error.last_step - len(error.figures) + 1
    rows = enumerate(error.figures.tolist(), first)
    saved = [step for step in trial.steps("checkpoints") if step <= error.step]
    return DivergenceRecord(
        step=error.step,
        epoch=error.step * run.batch_size / run.images_per_epoch,
        ids=ids.tolist(),
        epochs=epochs.tolist(),
        not_finite=ids[error.unsound.nonzero()[:, 0].numpy()].tolist(),
        last_steps=[
            StepFigures(
                step=step,
                lr=run.schedule.lr(step),
                figures=dict(zip(run.stepper.names, figures, strict=True)),
            )
            for step, figures in rows
        ],
        scaler=run.stepper.scaler.state_dict(),
        checkpoint=max(saved, default=0),
        replay=replay_command(trial, error.step),
    )


def replay_command(trial: TrialFolder, step: int) -> str:
    """`mimlab replay …`, to be typed anywhere that sees the storage."""
    storage = str(trial.store.root)
    return shlex.join(["mimlab", "replay", trial.id, "--step", str(step), "--storage", storage])


def _path(trial: TrialFolder, step: int) -> str:
    return trial.file(f"{FOLDER}/{step:09d}.json")
