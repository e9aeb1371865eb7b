"""One step of a trial run again, and looked into; nothing is written into the trial.

Batches, masks and dropped paths are functions of keys, so that a checkpoint and the code are all
that it takes: the steps from there are trained again, as `mimlab.train.session` trains them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import torch

from mimlab.data.builtin import resolve_images
from mimlab.data.local_batches import local_batches
from mimlab.data.segments import Place
from mimlab.errors import TrialError, UserError
from mimlab.spec.study import TrialSpec
from mimlab.storage.control import StopRequest
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import JournalPoint
from mimlab.train.checkpoint import newest_checkpoint
from mimlab.train.divergence import divergences
from mimlab.train.log import SilentLog
from mimlab.train.loop import TrainingRun, log_point, run_step, train
from mimlab.train.meter import Diverged
from mimlab.train.replayed import Replayed, Same, Sample
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.session import Session
from mimlab.train.watch import Call, not_finite, watching
from mimlab.train.worker_config import WorkerConfig

LARGEST_SHOWN = 8


@dataclass(frozen=True)
class RunAs:
    """How a trial was run, and how it is run again."""

    spec: TrialSpec
    device: torch.device
    cpus: float
    """Of a worker: sums over other numbers of threads have another order."""
    code_fingerprint: str
    """Of the code that is here."""
    submitted_code: str = ""
    """Of the code that the trial began with; empty: nobody has run it."""
    notes: list[str] = field(default_factory=list)
    """What may keep the numbers from being the same, in words."""


class Compared:
    """Takes the points of the curves and holds them against those of the trial's journal."""

    stop: StopRequest | None = None

    def __init__(self, recorded: list[JournalPoint]) -> None:
        self._recorded = {point.step: point.metrics for point in recorded}
        self.steps: list[int] = []
        """Of the points that the journal has, too."""
        self.differing: list[int] = []
        """Those of them that are not what it says."""

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """Compare a point, if the journal has one of its step."""
        recorded = self._recorded.get(step)
        if recorded is None:
            return
        self.steps.append(step)
        stable = metrics.keys() - VOLATILE_KEYS
        if not all(equal(metrics[key], recorded.get(key, math.nan)) for key in stable):
            self.differing.append(step)

    def progress(self, *, step: int, epoch: float, images_per_s: float) -> None:
        """Nobody asks."""


def replay(trial: TrialFolder, step: int, *, run_as: RunAs) -> tuple[Replayed, list[Call]]:
    """Run `step` again, from the newest checkpoint before it or from the beginning.

    The calls are its micro-batches. Raises UserError where there is no such step, where a step
    before it is not finite already, or where code or data are no longer those of the trial.
    """
    try:
        return _replay(trial, step, run_as)
    except Diverged as error:
        raise UserError(
            f"--step {step}: {error}, which comes before it; replay that one: --step {error.step}"
        ) from error
    except TrialError as error:
        raise UserError(f"trial {trial.id} cannot be replayed: {error}") from error


def _replay(trial: TrialFolder, step: int, run_as: RunAs) -> tuple[Replayed, list[Call]]:
    session = Session(_told(trial, run_as), trial, Place(), run_as.device, log=SilentLog())
    total = session.schedule.total_steps
    if not 0 <= step < total:
        raise UserError(f"--step {step}: trial {trial.id} has the steps 0 to {total - 1}")
    found = newest_checkpoint(trial, on_unusable=lambda _step: None, up_to=step)
    run, start = session.prepared(found)
    compared = Compared(read_points(trial.store, trial.file("journal")))
    run = replace(run, reporter=compared)
    batches = local_batches(
        session.split,
        session.plan,
        session.view(),
        start_step=start,
        stop_step=step + 1,
        threads=max(1, int(run_as.cpus)),
    )
    with closing(session.fed(batches)) as feed:
        train(run, itertools.islice(feed, step - start))
        bad_parameters = not_finite(session.objective.state_dict().items())
        fed = next(feed)
        with watching(session.objective) as watch:
            result = run_step(run, fed)
    _log_last(run, step)
    figures = dict(zip(run.stepper.names, result.figures.tolist(), strict=True))
    trained_by = found[1].code_fingerprint if found else run_as.submitted_code
    report = Replayed(
        trial=trial.id,
        step=step,
        total_steps=total,
        epoch=step * run.batch_size / run.images_per_epoch,
        start_step=start,
        same_code=trained_by == run_as.code_fingerprint if trained_by else None,
        notes=run_as.notes,
        lr=run.schedule.lr(step),
        figures=figures,
        scaler=run.stepper.scaler.state_dict(),
        recorded=_recorded(trial, step, figures, compared),
        points=len(compared.steps),
        differing_points=compared.differing,
        skipped=fed.skipped,
        samples=list(_samples(watch.calls)),
        bad_inputs=watch.bad_inputs,
        bad_parameters=bad_parameters,
        bad_gradients=watch.bad_gradients,
        first_not_finite=watch.first,
        largest=watch.largest(LARGEST_SHOWN),
    )
    return report, watch.calls


def _told(trial: TrialFolder, run_as: RunAs) -> WorkerConfig:
    images = resolve_images(run_as.spec.data.images, trial.store.scratch("data"))
    return WorkerConfig(
        storage=str(trial.store.root),
        submission_id="",  # holds no lease, because it commits nothing
        trial_id=trial.id,
        spec=run_as.spec.model_dump(mode="json"),
        data=str(images),
        fence=0,
        attempt=0,
        code_fingerprint=run_as.code_fingerprint,
        cpus=run_as.cpus,
    )


def _log_last(run: TrainingRun, step: int) -> None:
    """The step's own point, where it has one. Raises Diverged for an earlier step."""
    try:
        if (step + 1) % run.log_every == 0 or step + 1 == run.total_steps:
            log_point(run, step + 1)
        else:
            run.meter.check(step)
    except Diverged as error:
        if error.step != step:
            raise


def _recorded(trial: TrialFolder, step: int, figures: dict[str, float], compared: Compared) -> Same:
    """Whether the step is what the trial wrote down of it: where it diverged, or in its journal."""
    rows = [row for found in divergences(trial) for row in found.last_steps if row.step == step]
    if rows:
        keys = ("loss", "grad_norm")
        return "yes" if all(equal(figures[k], rows[-1].figures[k]) for k in keys) else "no"
    if step + 1 in compared.steps:
        return "no" if step + 1 in compared.differing else "yes"
    return "not recorded"


def _samples(calls: list[Call]) -> Iterator[Sample]:
    for call in calls:
        losses = call.sample_loss
        values = [None] * len(call.batch) if losses is None else losses.tolist()
        for sample_id, loss in zip(call.batch.ids.tolist(), values, strict=True):
            yield Sample(id=sample_id, loss=loss)


def equal(value: float, recorded: float) -> bool:
    """To the last bit; NaN is NaN."""
    return value == recorded or (math.isnan(value) and math.isnan(recorded))
