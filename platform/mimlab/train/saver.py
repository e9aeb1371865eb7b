"""When rank 0 saves what: checkpoints, encoder exports for probes, boards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import CheckpointManifest
from mimlab.train.boards import BoardMaker
from mimlab.train.checkpoint import (
    BackgroundWriter,
    TrainingState,
    prune,
    to_host,
    write_checkpoint,
)
from mimlab.train.config import CheckpointConfig
from mimlab.train.export import write_export
from mimlab.train.meter import Meter
from mimlab.train.reporter import Reporter
from mimlab_objectives.backbones.vit import BackboneParams
from mimlab_objectives.objectives.base import Objective

ENCODER_PREFIX = "backbone.vit."


@dataclass(frozen=True)
class SavePlan:
    """The steps, counted as steps done, at which something is saved; the last is always one."""

    total_steps: int
    checkpoints: frozenset[int]
    exports: frozenset[int]


@dataclass(frozen=True)
class Trained:
    """What a checkpoint is taken of."""

    objective: Objective
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    backbone: BackboneParams
    image_size: int
    epochs_per_step: float


@dataclass(frozen=True)
class Writing:
    """In whose name something is saved, and what of it is kept."""

    fence: int
    check_fence: Callable[[], None]
    """Raises if another driver has taken over; called before each commit."""
    code_fingerprint: str
    retention: CheckpointConfig
    best_metric: str
    """Metric key that says which checkpoints are best."""


class Saver:
    """Copies the state in the training thread and writes it in another."""

    def __init__(
        self,
        trial: TrialFolder,
        trained: Trained,
        plan: SavePlan,
        *,
        reporter: Reporter,
        boards: BoardMaker,
        writing: Writing,
        next_batch_hash: Callable[[int], str],
    ) -> None:
        self._trial = trial
        self._trained = trained
        self._plan = plan
        self._reporter = reporter
        self._boards = boards
        self._writing = writing
        self._next_batch_hash = next_batch_hash
        self._writer = BackgroundWriter()

    def after_step(self, done: int, meter: Meter, *, force: bool) -> None:
        """Save what is due after `done` steps; a checkpoint in any case if `force`.

        Raises TrialError if the state has diverged: such a state is never saved.
        """
        last = done == self._plan.total_steps
        exports = last or done in self._plan.exports
        if not (force or exports or done in self._plan.checkpoints):
            return
        meter.check(done - 1)
        state = self._state(done, meter)
        manifest = self._manifest(done)
        board = self._boards.draw() if exports else None

        def write() -> None:
            self._writing.check_fence()
            self._reporter.flush()
            # The checkpoint last: a resume never comes back to a step to export it.
            if exports:
                self._export(state, manifest)
            if board is not None:
                self._trial.store.write(self._trial.file(f"boards/{done:09d}.png"), board())
            write_checkpoint(self._trial, state, manifest)
            self._prune()

        self._writer.submit(write)

    def close(self) -> None:
        """Wait for the last write. Raises its error."""
        self._writer.close()

    def _state(self, done: int, meter: Meter) -> TrainingState:
        trained = self._trained
        return TrainingState(
            step=done,
            objective=to_host(dict(trained.objective.state_dict())),
            optimizer=to_host(trained.optimizer.state_dict()),
            scaler=trained.scaler.state_dict(),
            pending=meter.pending(),
            skipped=meter.skipped,
            visible_tokens=meter.visible_tokens,
        )

    def _manifest(self, done: int) -> CheckpointManifest:
        return CheckpointManifest(
            step=done,
            epoch=done * self._trained.epochs_per_step,
            files={},
            sizes={},
            fence=self._writing.fence,
            code_fingerprint=self._writing.code_fingerprint,
            journal_seq=self._reporter.journal.seq,
            next_batch_hash=self._next_batch_hash(done),
        )

    def _export(self, state: TrainingState, manifest: CheckpointManifest) -> None:
        weights = {
            name.removeprefix(ENCODER_PREFIX): tensor
            for name, tensor in state.objective.items()
            if name.startswith(ENCODER_PREFIX)
        }
        write_export(
            self._trial,
            weights,
            step=state.step,
            epoch=manifest.epoch,
            backbone=self._trained.backbone,
            image_size=self._trained.image_size,
        )

    def _prune(self) -> None:
        scores = {
            record.step: record.metrics[self._writing.best_metric]
            for record in self._trial.probes()
            if self._writing.best_metric in record.metrics
        }
        best = set(
            sorted(scores, key=lambda step: -scores[step])[: self._writing.retention.keep_best]
        )
        prune(self._trial, keep_last=self._writing.retention.keep_last, keep_steps=best)
