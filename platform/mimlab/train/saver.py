"""When rank 0 saves what: checkpoints, encoder exports for probes, boards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from mimlab.spec.study import TrialSpec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.forks import awaited_steps, begun
from mimlab.storage.patience import Trouble
from mimlab.storage.records import CheckpointManifest, Conditions
from mimlab.train.boards import BoardMaker
from mimlab.train.checkpoint import (
    BackgroundWriter,
    TrainingState,
    prune,
    to_host,
    write_checkpoint,
)
from mimlab.train.config import CheckpointConfig
from mimlab.train.export import write_encoder
from mimlab.train.log import TrialLog
from mimlab.train.meter import Meter
from mimlab.train.reporter import Reporter
from mimlab.train.schedule import steps_every
from mimlab_objectives.backbones.vit import BackboneParams
from mimlab_objectives.objectives.base import Objective

SKIP_S = 10.0
"""How long training waits for the checkpoint before, where a further one can be left out."""


@dataclass(frozen=True)
class SavePlan:
    """The steps, counted as steps done, at which something is saved; the last is always one."""

    total_steps: int
    checkpoints: frozenset[int]
    exports: frozenset[int]


def save_plan(spec: TrialSpec, num_images: int, total_steps: int) -> SavePlan:
    """When a trial that trains on `num_images` saves."""
    every = partial(
        steps_every, num_images=num_images, batch_size=spec.train.batch_size, last=total_steps
    )
    return SavePlan(
        total_steps=total_steps,
        checkpoints=frozenset(every(spec.train.checkpoint.every_epochs)),
        exports=frozenset().union(*(every(p.every_epochs) for p in spec.probes)),
    )


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
    conditions: Conditions
    differs: list[str]
    """What changed at the trial's resumes, see `CheckpointManifest`."""
    masks_hashed: bool
    parent: str | None = None
    """The trial that this one was forked from, which keeps a checkpoint for it until it has one."""


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
        self._patience = trial.store.patience.telling(self._tell)
        # Saving is tried again as a whole, so that it looks at the fence each time.
        self._trial = TrialFolder(trial.store.at_once(), trial.id)
        self._trained = trained
        self._plan = plan
        self._reporter = reporter
        self._boards = boards
        self._writing = writing
        self._next_batch_hash = next_batch_hash
        self._writer = BackgroundWriter()
        self._log = TrialLog(trial)
        self._trouble: Trouble | None = None

    def after_step(self, done: int, meter: Meter, *, force: bool) -> None:
        """Save what is due after `done` steps; a checkpoint in any case if `force`.

        Where the disk is full, training waits here; where the storage is away it goes on, and a
        checkpoint may be left out. Raises TrialError if the state has diverged: such a state is
        never saved. Raises OutOfPatience if the one before could not be saved.
        """
        if self._trouble is not None and self._trouble.kind == "full":
            self._writer.wait()
        last = done == self._plan.total_steps
        exports = last or done in self._plan.exports
        if not (force or exports or done in self._plan.checkpoints):
            return
        meter.check(done - 1)
        if not (force or exports or self._writer.free(SKIP_S)):
            self._log.write("checkpoint skipped", {"step": done, "reason": self._reason()})
            return
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
            write_checkpoint(self._trial, state, manifest, self._writing.check_fence)
            self._prune()

        self._writer.submit(lambda: self._patience.run(write))

    def close(self) -> None:
        """Wait for the last write. Raises its error."""
        self._writer.close()

    def _tell(self, trouble: Trouble | None) -> None:
        """Hears, in the thread that writes, what is waited for."""
        if trouble is None:
            self._log.write("storage is back")
        elif self._trouble is None or self._trouble.kind != trouble.kind:
            self._log.write(f"storage {trouble.kind}", {"reason": trouble.reason})
        self._trouble = trouble
        self._reporter.waits_for("" if trouble is None else trouble.reason)

    def _reason(self) -> str:
        trouble = self._trouble
        return trouble.reason if trouble else "the one before is still being written"

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
            masks_hashed=self._writing.masks_hashed,
            conditions=self._writing.conditions,
            differs=self._writing.differs,
        )

    def _export(self, state: TrainingState, manifest: CheckpointManifest) -> None:
        write_encoder(
            self._trial,
            state.objective,
            manifest,
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
        if self._writing.parent is not None:
            begun(TrialFolder(self._trial.store, self._writing.parent), self._trial.id)
        keep = best | awaited_steps(self._trial)
        prune(self._trial, keep_last=self._writing.retention.keep_last, keep_steps=keep)
