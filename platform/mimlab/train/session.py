"""One rank's training of one trial: its parts, restored, and what is saved of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace

import numpy as np
import torch

from mimlab.data.decoding import LocalBatch
from mimlab.data.manifest import DataSet
from mimlab.data.read_plan import ReadPlan
from mimlab.data.rendering import ViewSpec
from mimlab.data.segments import Place
from mimlab.data.source import ReadResources
from mimlab.data.stream import BatchStream, StreamOptions
from mimlab.data.subset import training_split
from mimlab.data.views import UnreadableImage
from mimlab.errors import TrialError, told_in
from mimlab.probe.config import metric_of
from mimlab.spec.study import trial_spec
from mimlab.storage.control import Outcome
from mimlab.storage.folders import TrialFolder
from mimlab.storage.patience import OutOfPatience
from mimlab.storage.records import CheckpointManifest, StatusRecord, TrialRecord
from mimlab.train.beginning import fit_target, start_encoder
from mimlab.train.build import build_masking, build_objective
from mimlab.train.checkpoint import TrainingState, discard, newest_checkpoint
from mimlab.train.clock import Clock
from mimlab.train.conditions import conditions_of
from mimlab.train.determinism import no_such_kernel, use_deterministic_kernels
from mimlab.train.divergence import divergence_of, write_divergence
from mimlab.train.feed import Fed, Feeder, GlobalBatches, Planner
from mimlab.train.forking import fork_details, parents_state, take_encoder, take_state
from mimlab.train.log import EventLog, TrialLog
from mimlab.train.loop import TrainingRun, train
from mimlab.train.memory import out_of_memory, ran_out
from mimlab.train.meter import Diverged, Meter
from mimlab.train.optimizer import build_optimizer
from mimlab.train.prior_maps import followed_maps
from mimlab.train.reporter import Reporter
from mimlab.train.resuming import compared
from mimlab.train.saver import Saver, Trained, Writing, save_plan
from mimlab.train.schedule import decay_of, schedule_of
from mimlab.train.step_hashes import StepHashes, samples_of_step
from mimlab.train.stepper import Stepper, figure_names
from mimlab.train.stored import opened_store, view_spec
from mimlab.train.trial_board import board_maker
from mimlab.train.worker_config import WorkerConfig

BOARD_IMAGES = 8
UNREADABLE_NAMED = 100
"""In the log, each time that a worker starts."""


class Session:
    """One rank of one trial, from its checkpoint to its outcome."""

    def __init__(
        self,
        config: WorkerConfig,
        trial: TrialFolder,
        place: Place,
        device: torch.device,
        *,
        log: EventLog | None = None,
    ) -> None:
        """`log`: where events go, by default to the trial's."""
        torch.set_num_threads(max(1, int(config.cpus)))
        self.config = config
        self.trial = trial
        self.place = place
        self.device = device
        self.spec = trial_spec(config.spec)
        if self.spec.train.deterministic:
            use_deterministic_kernels(device)
        self.conditions = conditions_of(self.spec.train, device, place.world)
        self.differs: list[str] = []
        """What has changed at resumes up to here, see `CheckpointManifest`."""
        self.record = trial.store.read_record(trial.file("trial.json"), TrialRecord)
        """None for steps that are only measured."""
        self.clock = Clock(device)
        self.log = log or TrialLog(trial)
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
        self.hashes = StepHashes(
            self.split, self.plan, self.whole_planner, self.schedule.total_steps
        )

    def run(self) -> Outcome:
        """Train to the end or to a stop. Raises TrialError, and whatever else goes wrong."""
        found = newest_checkpoint(self.trial, on_unusable=self._log_unusable)
        run, start = self.prepared(found)
        if start >= self.schedule.total_steps:
            return Outcome(state="finished", step=start)
        reporter = self._reporter(start) if self.place.rank == 0 else None
        saver = self._saver(reporter, run.optimizer, run.stepper) if reporter else None
        run = replace(run, reporter=reporter, saver=saver)
        self.log.write(
            "training", {"rank": self.place.rank, "from_step": start, "world": self.place.world}
        )
        try:
            return self._train(run, start)
        except Diverged as error:
            raise self._diverged(error, run) from error
        except OutOfPatience:
            if reporter is not None:
                reporter.give_up()  # it has been waited for
            raise
        except UnreadableImage as error:
            raise TrialError("failed", f"{error}; import the data again to leave it out") from error
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):
                raise out_of_memory(self.device, self.spec.train, self.place.world) from error
            if self.spec.train.deterministic and (end := no_such_kernel(error)) is not None:
                raise end from error
            raise
        except Exception as error:
            told = told_in(error)
            if told is None:
                raise
            # Ray Data adds lines of its own, about how often it tries.
            raise TrialError("failed", str(told).splitlines()[0]) from error
        finally:
            if reporter is not None:
                reporter.close()
                self._log_compared(reporter)

    def prepared(
        self, found: tuple[TrainingState, CheckpointManifest] | None
    ) -> tuple[TrainingRun, int]:
        """What trains, as a checkpoint has it or from the beginning, and its first step.

        Nothing is written but events: it neither reports nor saves. Raises TrialError.
        """
        optimizer = build_optimizer(self.objective, self.spec.train.optimizer)
        stepper = self._stepper(optimizer)
        if found is None:
            state, start = self._begin(optimizer, stepper)
        else:
            state, start = found[0], self._restore(found, optimizer, stepper)
        run = TrainingRun(
            stepper=stepper,
            optimizer=optimizer,
            schedule=self.schedule,
            decay=decay_of(self.spec.train.optimizer, self.schedule.total_steps),
            planner=self.planner,
            meter=self._meter(state),
            clock=self.clock,
            reporter=None,
            saver=None,
            log_every=self.spec.train.log_every,
            max_skipped=self.spec.data.max_skipped,
            batch_size=self.spec.train.batch_size,
            images_per_epoch=self.split.num_rows,
            world=self.place.world,
        )
        return run, start

    def fed(self, batches: Iterable[LocalBatch]) -> Generator[Fed, None, None]:
        """This rank's batches with their masks, on the device."""
        feeder = Feeder(
            self.planner,
            self.device,
            self.schedule.total_steps,
            self.clock,
            labels=self.objective.uses_labels,
        )
        return feeder.feed(batches)

    def view(self) -> ViewSpec:
        """Which views are read of the samples, and what beside them."""
        data, patch_size = self.spec.data, self.objective.backbone.patch_size
        followed = followed_maps(self.planner.masking, data.sidecars, self.data, patch_size)
        return view_spec(self.spec, followed, self.store)

    def _train(self, run: TrainingRun, start: int) -> Outcome:
        stream = self._stream(start)
        try:
            return train(run, self.fed(self._noted(stream)))
        finally:
            stream.close()

    def _noted(self, batches: Iterable[LocalBatch]) -> Generator[LocalBatch, None, None]:
        """The batches; the log names images that could not be read, the first of them."""
        left = UNREADABLE_NAMED
        for batch in batches:
            for image in batch.unreadable[:left]:
                self.log.write(
                    "image skipped",
                    {"step": batch.step, "id": image.sample_id, "reason": image.reason},
                )
            left -= min(left, batch.skipped)
            yield batch

    def _stream(self, start: int) -> BatchStream:
        return BatchStream(
            self.split,
            self.plan,
            self.view(),
            start_step=start,
            stop_step=self.schedule.total_steps,
            place=self.place,
            options=StreamOptions(
                threads=max(1, int(self.config.cpus)),
                resources=ReadResources(decode=self.spec.data.decode == "tasks"),
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

    def _begin(
        self, optimizer: torch.optim.Optimizer, stepper: Stepper
    ) -> tuple[TrainingState | None, int]:
        """What the meter goes on from, and the first step: 0, with the weights that the trial
        starts from and a target that is fitted; or where a fork begins."""
        fork = self.record
        if fork is None or fork.start is None:
            self._begin_anew()
            return None, 0
        parent = parents_state(self.trial, fork)
        if self.place.rank == 0:
            self.log.write("forked", fork_details(fork))
        if fork.start.takes == "encoder":
            self._begin_anew()
            take_encoder(self.objective.backbone, parent)
            self.objective.after_init()
            return None, 0
        take_state(self.objective, optimizer, stepper, parent)
        none_pending = torch.zeros(0, len(figure_names(self.objective)))
        return replace(parent, step=fork.start.step, pending=none_pending), fork.start.step

    def _begin_anew(self) -> None:
        init, objective = self.spec.backbone.init, self.objective
        if init is not None:
            positions = start_encoder(objective.backbone, init, self.trial.store)
            if self.place.rank == 0:
                self.log.write("started from weights", {"init": init, "positions": positions})
        fit_target(objective.target, self.spec, self.data, self.store, self.device)
        objective.after_init()

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
        resumed = compared(
            manifest,
            self.hashes,
            self.conditions,
            self.spec,
            code_fingerprint=self.config.code_fingerprint,
        )
        self.differs = resumed.ever_differed
        if self.place.rank == 0:
            self.log.write("resumed", resumed.details())
        resumed.check()
        return state.step

    def _samples(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and epochs of global batch `step`."""
        return samples_of_step(self.split, self.plan, step)

    def _reporter(self, start: int) -> Reporter:
        status = StatusRecord(
            state="running",
            step=start,
            total_steps=self.schedule.total_steps,
            epoch=start * self.spec.train.batch_size / self.split.num_rows,
            heartbeat=self.trial.status().heartbeat,
            fence=self.config.fence,
            attempt=self.config.attempt,
            differs=self.differs,
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
            save_plan(self.spec, self.split.num_rows, self.schedule.total_steps),
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
            next_batch_hash=self.hashes.of,
        )

    def _check_fence(self) -> None:
        self.config.check_fence(self.trial.store.at_once())

    def _writing(self) -> Writing:
        told = self.config
        return Writing(
            fence=told.fence,
            check_fence=self._check_fence,
            code_fingerprint=told.code_fingerprint,
            retention=self.spec.train.checkpoint,
            best_metric=metric_of(self.spec.probes[0]) if self.spec.probes else "",
            conditions=self.conditions,
            differs=self.differs,
            masks_hashed=self.hashes.with_masks,
            parent=None if self.record is None else self.record.parent,
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

    def _diverged(self, error: Diverged, run: TrainingRun) -> TrialError:
        """The end of the trial; rank 0 writes down what led to it."""
        record = divergence_of(error, self._samples(error.step), run, self.trial)
        if self.place.rank == 0:
            write_divergence(self.trial, record)
        return TrialError("diverged", record.reason)
