"""The training loop: feed, step, log, save. It knows no method by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from mimlab.errors import TrialError
from mimlab.storage.control import Outcome, StopRequest
from mimlab.train.clock import Clock
from mimlab.train.feed import Fed, Planner
from mimlab.train.meter import Meter
from mimlab.train.optimizer import set_decay, set_lr
from mimlab.train.saver import Saver
from mimlab.train.schedule import CosineSchedule, DecaySchedule
from mimlab.train.stepper import Stepper, StepResult
from mimlab.train.system import system_metrics
from mimlab_objectives.objectives.base import Progress


@runtime_checkable
class Points(Protocol):
    """Takes the points of the curves (`mimlab.train.reporter`), and knows of a stop request."""

    stop: StopRequest | None

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """A point: the metrics after `step` steps."""

    def progress(self, *, step: int, epoch: float, images_per_s: float) -> None:
        """Where training stands."""


@dataclass(frozen=True)
class TrainingRun:
    """What the loop needs on one rank. `reporter` and `saver` exist on rank 0 only."""

    stepper: Stepper
    optimizer: torch.optim.Optimizer
    schedule: CosineSchedule
    decay: DecaySchedule
    planner: Planner
    meter: Meter
    clock: Clock
    reporter: Points | None
    saver: Saver | None
    log_every: int
    batch_size: int
    images_per_epoch: int
    max_skipped: float
    """Share of the images that may be unreadable."""
    world: int

    @property
    def total_steps(self) -> int:
        return self.schedule.total_steps


def train(run: TrainingRun, feed: Iterable[Fed]) -> Outcome:
    """Train from the feed's first step to the budget's end, or to a stop request.

    Raises:
        TrialError: `diverged`, where loss or gradient is not finite; `failed`, where too many
            images cannot be read.
    """
    for fed in feed:
        run_step(run, fed)
        done = fed.step + 1
        logs = done % run.log_every == 0 or done == run.total_steps
        stop = _agreed_stop(run, logs)
        if logs:
            log_point(run, done)
        if run.saver is not None:
            with run.clock.phase("save"):
                run.saver.after_step(done, run.meter, force=stop is not None)
        if stop is not None and done < run.total_steps:
            return _end(run, Outcome(state=stop.state, reason=stop.reason, step=done))
    return _end(run, Outcome(state="finished", step=run.total_steps))


def run_step(run: TrainingRun, fed: Fed) -> StepResult:
    """One optimizer step, whose figures the meter gets too."""
    progress = Progress(fed.step, fed.step / run.total_steps)
    set_lr(run.optimizer, run.schedule.lr(fed.step))
    set_decay(run.optimizer, run.decay.decay(fed.step))
    plan = fed.plan
    if plan is None:
        objective = run.stepper.objective
        plan = run.planner.plan(fed.keys, progress, objective=objective, batch=fed.batch)
    stop = run.reporter is not None and run.reporter.stop is not None
    result = run.stepper.step(fed.batch, plan, progress, skipped=fed.skipped, stop=stop)
    run.meter.add(result, images=run.batch_size, waited_s=fed.waited_s)
    return result


def _agreed_stop(run: TrainingRun, logs: bool) -> StopRequest | None:
    """A stop that all ranks see at the same step; among several ranks only where they log."""
    if run.world == 1:
        return run.reporter.stop if run.reporter else None
    if not (logs and run.meter.stop_asked):
        return None
    if run.reporter is not None and run.reporter.stop is not None:
        return run.reporter.stop
    return StopRequest(state="stopped", reason="")


def log_point(run: TrainingRun, done: int) -> None:
    """The point of the curves after `done` steps.

    Raises Diverged, and TrialError where too many images cannot be read.
    """
    metrics = run.meter.read(done - 1)
    _check_skipped(run, done)
    if run.reporter is None:
        return
    images = done * run.batch_size
    epoch = images / run.images_per_epoch
    metrics |= {
        "train/lr": run.schedule.lr(done - 1),
        "train/images": float(images),
        "train/workers": float(run.world),
        "train/epoch": epoch,
        **system_metrics(run.stepper.device),
    }
    run.reporter.append(done, metrics)
    run.reporter.progress(step=done, epoch=epoch, images_per_s=run.meter.images_per_s)


def _check_skipped(run: TrainingRun, done: int) -> None:
    """Of the first epoch's images a share may be unreadable, from then on of all that were read."""
    read = done * run.batch_size
    if run.meter.skipped <= run.max_skipped * max(read, run.images_per_epoch):
        return
    raise TrialError(
        "failed",
        f"{run.meter.skipped} of the {read} images read could not be decoded: more than "
        f"data.max_skipped, {run.max_skipped:.2%}; log.jsonl names them. Import the data again, or "
        "raise data.max_skipped",
    )


def _end(run: TrainingRun, outcome: Outcome) -> Outcome:
    if run.saver is not None:
        run.saver.close()
    return outcome
