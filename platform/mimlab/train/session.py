"""One rank's training of one trial: its parts, restored, and what is saved of them."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict

from mimlab.data.manifest import DataSet
from mimlab.data.read_plan import ReadPlan
from mimlab.data.segments import Place
from mimlab.data.source import ReadResources
from mimlab.data.stream import BatchStream, StreamOptions
from mimlab.data.subset import training_split
from mimlab.data.views import UnreadableImage
from mimlab.errors import TrialError
from mimlab.probe.config import metric_of
from mimlab.spec.paths import CONTENT_PREFIX
from mimlab.spec.study import trial_spec
from mimlab.storage.control import Outcome
from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import check_fence
from mimlab.storage.records import CheckpointManifest, StatusRecord
from mimlab.storage.weights import read_weights
from mimlab.train.build import build_masking, build_objective
from mimlab.train.checkpoint import TrainingState, discard, newest_checkpoint
from mimlab.train.clock import Clock
from mimlab.train.feed import Feeder, GlobalBatches, Planner
from mimlab.train.fixed_images import fixed_images
from mimlab.train.log import TrialLog
from mimlab.train.loop import TrainingRun, train
from mimlab.train.memory import out_of_memory, ran_out
from mimlab.train.meter import Diverged, Meter
from mimlab.train.optimizer import build_optimizer
from mimlab.train.pixels import normalise
from mimlab.train.prior_maps import followed_maps
from mimlab.train.reporter import Reporter
from mimlab.train.saver import SavePlan, Saver, Trained, Writing
from mimlab.train.schedule import decay_of, schedule_of, steps_every
from mimlab.train.stepper import Stepper, figure_names
from mimlab.train.stored import learn_pictures, opened_store, view_spec
from mimlab.train.trial_board import board_maker
from mimlab_objectives.backbones.initial import start_from
from mimlab_objectives.objectives.base import Progress

BOARD_IMAGES = 8


class WorkerConfig(BaseModel):
    """Everything that a worker is told; it decides nothing itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage: str
    submission_id: str
    trial_id: str
    spec: dict[str, Any]
    """`TrialSpec` in JSON form, as the submission that runs the trial has it."""
    data: str
    fence: int
    attempt: int
    code_fingerprint: str
    cpus: float


class Session:
    """One rank of one trial, from its checkpoint to its outcome."""

    def __init__(
        self, config: WorkerConfig, trial: TrialFolder, place: Place, device: torch.device
    ) -> None:
        torch.set_num_threads(max(1, int(config.cpus)))
        self.config = config
        self.trial = trial
        self.place = place
        self.device = device
        self.spec = trial_spec(config.spec)
        self.clock = Clock(device)
        self.log = TrialLog(trial)
        self.data = DataSet.open(config.data)
        self.store = opened_store(self.spec.data, self.data)
        self.split = training_split(self.data, self.spec.data.splits.train, self.spec.data.subset)
        batch_size = self.spec.train.batch_size
        self.plan = ReadPlan(self.split.rows_per_group, self.spec.seed, batch_size)
        self.objective = build_objective(self.spec).to(device).train()
        self.schedule = schedule_of(
            self.spec.train, self.split.num_rows, stages=self.objective.stages
        )
        grid = self.objective.backbone.grid
        masking = build_masking(self.spec, grid)
        self.planner = Planner(
            masking, self.spec.seed, GlobalBatches(self._samples, place.rank, place.world)
        )
        self.whole_planner = Planner(masking, self.spec.seed)
        """Takes what it is asked for as a whole batch: of all ranks, or of a board."""

    def run(self) -> Outcome:
        """Train to the end or to a stop. Raises TrialError, and whatever else goes wrong."""
        optimizer = build_optimizer(self.objective, self.spec.train.optimizer)
        stepper = self._stepper(optimizer)
        found = newest_checkpoint(self.trial, on_unusable=self._log_unusable)
        start = self._restore(found, optimizer, stepper) if found else self._begin()
        if start >= self.schedule.total_steps:
            return Outcome(state="finished", step=start)
        meter = self._meter(found[0] if found else None)
        reporter = self._reporter(start) if self.place.rank == 0 else None
        saver = self._saver(reporter, optimizer, stepper) if reporter else None
        run = TrainingRun(
            stepper=stepper,
            optimizer=optimizer,
            schedule=self.schedule,
            decay=decay_of(self.spec.train.optimizer, self.schedule.total_steps),
            planner=self.planner,
            meter=meter,
            clock=self.clock,
            reporter=reporter,
            saver=saver,
            log_every=self.spec.train.log_every,
            batch_size=self.spec.train.batch_size,
            images_per_epoch=self.split.num_rows,
            world=self.place.world,
        )
        self.log.write(
            "training", {"rank": self.place.rank, "from_step": start, "world": self.place.world}
        )
        try:
            return self._train(run, start)
        except Diverged as error:
            self._write_diverged(error)
            raise
        except UnreadableImage as error:
            raise TrialError("failed", f"{error}; import the data again to leave it out") from error
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            raise out_of_memory(self.device, self.spec.train, self.place.world) from error
        finally:
            if reporter is not None:
                reporter.close()
                self._log_compared(reporter)

    def _train(self, run: TrainingRun, start: int) -> Outcome:
        feeder = Feeder(
            self.planner,
            self.device,
            self.schedule.total_steps,
            self.clock,
            labels=self.objective.uses_labels,
        )
        stream = self._stream(start)
        try:
            return train(run, feeder.feed(stream))
        finally:
            stream.close()

    def _stream(self, start: int) -> BatchStream:
        data, patch_size = self.spec.data, self.objective.backbone.patch_size
        followed = followed_maps(self.planner.masking, data.sidecars, self.data, patch_size)
        return BatchStream(
            self.split,
            self.plan,
            view_spec(self.spec, followed, self.store),
            start_step=start,
            stop_step=self.schedule.total_steps,
            place=self.place,
            options=StreamOptions(
                threads=max(1, int(self.config.cpus)),
                resources=ReadResources(decode=data.decode == "tasks"),
            ),
        )

    def _stepper(self, optimizer: torch.optim.Optimizer) -> Stepper:
        return Stepper(
            self.objective,
            optimizer,
            device=self.device,
            config=self.spec.train,
            seed=self.spec.seed,
            clock=self.clock,
        )

    def _meter(self, state: TrainingState | None) -> Meter:
        names = figure_names(self.objective)
        return Meter(
            state.pending if state else torch.zeros(0, len(names)),
            self.clock,
            names=names,
            skipped=state.skipped if state else 0,
            visible_tokens=state.visible_tokens if state else 0.0,
            scaled=self.spec.train.precision == "fp16",
        )

    def _begin(self) -> int:
        """Step 0, with the weights that the trial starts from and a target that is fitted."""
        self._start_encoder()
        self._fit_target()
        self.objective.after_init()
        return 0

    def _fit_target(self) -> None:
        """The same images in every trial and on every rank: the first ones of the split."""
        target, size = self.objective.target, self.spec.data.image_size
        if self.store is not None:
            learn_pictures(target, self.store, self.spec, self.data)
        if target.fit_images:
            name = self.spec.data.splits.train
            pixels, _ = fixed_images(self.data, name, size, target.fit_images)
            target.fit(normalise(pixels.to(self.device)))

    def _start_encoder(self) -> None:
        init = self.spec.backbone.init
        if init is None:
            return
        try:
            data = read_weights(self.trial.store, init.removeprefix(CONTENT_PREFIX))
        except (FileNotFoundError, ValueError) as error:
            raise TrialError("failed", f"the weights to start from are lost: {error}") from error
        resampled = start_from(self.objective.backbone, safetensors.torch.load(data))
        if self.place.rank == 0:
            self.log.write("started from weights", {"init": init, "positions": resampled or "same"})

    def _restore(
        self,
        found: tuple[TrainingState, CheckpointManifest],
        optimizer: torch.optim.Optimizer,
        stepper: Stepper,
    ) -> int:
        state, manifest = found
        self.objective.load_state_dict(state.objective)
        optimizer.load_state_dict(state.optimizer)
        stepper.scaler.load_state_dict(state.scaler)
        same = manifest.next_batch_hash == self.next_batch_hash(state.step)
        if self.place.rank == 0:
            same_code = manifest.code_fingerprint == self.config.code_fingerprint
            self.log.write(
                "resumed", {"step": state.step, "same_next_batch": same, "same_code": same_code}
            )
        if not same:
            raise TrialError(
                "failed",
                f"step {state.step} would read other samples or masks than its checkpoint was made "
                "for, so going on would be another trial; the code has changed: go back to it, or "
                "raise the revision of the part that changed",
            )
        return state.step

    def _samples(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and epochs of global batch `step`."""
        rows, epochs = self.plan.batch(step)
        return self.split.ids(rows), epochs

    def next_batch_hash(self, step: int) -> str:
        """sha256 of the sample ids, epochs and masks of global batch `step`."""
        ids, epochs = self._samples(step)
        digest = hashlib.sha256(ids.tobytes() + epochs.tobytes())
        if not self.planner.masking.requires:
            keys = self.whole_planner.keys(torch.from_numpy(ids), torch.from_numpy(epochs))
            fraction = step / self.schedule.total_steps
            plan = self.whole_planner.plan(keys, Progress(step, fraction))
            digest.update(np.packbits(plan.hidden.numpy()).tobytes())
        return digest.hexdigest()

    def _reporter(self, start: int) -> Reporter:
        status = StatusRecord(
            state="running",
            step=start,
            total_steps=self.schedule.total_steps,
            epoch=start * self.spec.train.batch_size / self.split.num_rows,
            heartbeat=self.trial.status().heartbeat,
            fence=self.config.fence,
            attempt=self.config.attempt,
        )
        return Reporter(self.trial, status, self._check_fence)

    def _saver(
        self, reporter: Reporter, optimizer: torch.optim.Optimizer, stepper: Stepper
    ) -> Saver:
        return Saver(
            self.trial,
            Trained(
                objective=self.objective,
                optimizer=optimizer,
                scaler=stepper.scaler,
                backbone=self.spec.backbone,
                image_size=self.spec.data.image_size,
                epochs_per_step=self.spec.train.batch_size / self.split.num_rows,
            ),
            self.save_plan(),
            reporter=reporter,
            boards=board_maker(
                self.spec,
                self.objective,
                self.whole_planner,
                self.data,
                count=BOARD_IMAGES,
                device=self.device,
            ),
            writing=self._writing(),
            next_batch_hash=self.next_batch_hash,
        )

    def _check_fence(self) -> None:
        check_fence(self.trial.store, self.config.submission_id, self.config.fence)

    def _writing(self) -> Writing:
        told = self.config
        return Writing(
            fence=told.fence,
            check_fence=self._check_fence,
            code_fingerprint=told.code_fingerprint,
            retention=self.spec.train.checkpoint,
            best_metric=metric_of(self.spec.probes[0]) if self.spec.probes else "",
        )

    def save_plan(self) -> SavePlan:
        total, batch_size = self.schedule.total_steps, self.spec.train.batch_size
        every = partial(
            steps_every, num_images=self.split.num_rows, batch_size=batch_size, last=total
        )
        return SavePlan(
            total_steps=total,
            checkpoints=frozenset(every(self.spec.train.checkpoint.every_epochs)),
            exports=frozenset().union(*(every(p.every_epochs) for p in self.spec.probes)),
        )

    def _log_unusable(self, step: int) -> None:
        self.log.write("checkpoint unusable", {"step": step, "answer": "the one before it is used"})
        if self.place.rank == 0:
            discard(self.trial, step)

    def _log_compared(self, reporter: Reporter) -> None:
        journal = reporter.journal
        if journal.compared:
            self.log.write(
                "points compared", {"points": journal.compared, "differing": journal.differing}
            )

    def _write_diverged(self, error: Diverged) -> None:
        """Which samples, and the figures of the steps before: enough to replay the step."""
        ids, epochs = self._samples(error.step)
        names = figure_names(self.objective)
        content = {
            "step": error.step,
            "ids": ids.tolist(),
            "epochs": epochs.tolist(),
            "figures": [dict(zip(names, row, strict=True)) for row in error.figures.tolist()],
        }
        path = self.trial.file(f"diverged/{error.step:09d}.json")
        self.trial.store.write(path, json.dumps(content, indent=1).encode())
