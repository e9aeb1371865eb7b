"""What a checkpoint every 100 steps costs a trial of a ViT of 20 M parameters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.measuring import Row, alternate
from benchmarks.step import NOW, SIZE, plan_of, spec_of
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import CheckpointManifest
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from mimlab.train.checkpoint import (
    BackgroundWriter,
    TrainingState,
    prune,
    to_host,
    write_checkpoint,
)
from mimlab.train.clock import Clock
from mimlab.train.optimizer import build_optimizer
from mimlab.train.stepper import Stepper
from mimlab_objectives.objectives.base import Batch

BATCH, EVERY = 8, 100
"""A small batch is the hard case: a step is short, and a checkpoint is as large as ever."""
STEPS, ROUNDS = 4, 11
"""Steps that a write ends within, and as many without one: close enough in time that a machine
whose speed drifts over minutes is as fast for both."""


class Trial:
    """MAE on ViT-S/16, whose state is saved as a trial's is: copied by the thread that trains,
    hashed and written by another."""

    def __init__(self, folder: Path) -> None:
        spec, cpu = spec_of("mae"), torch.device("cpu")
        self.objective = build_objective(spec).train()
        self.encoder_parameters = sum(p.numel() for p in self.objective.backbone.parameters())
        self._optimizer = build_optimizer(self.objective, spec.train.optimizer)
        self._stepper = Stepper(
            self.objective, self._optimizer, device=cpu, config=spec.train, seed=0, clock=Clock(cpu)
        )
        self._folder = TrialFolder(Store(folder), "trial")
        batch = Batch(torch.arange(BATCH), torch.randn(BATCH, 3, SIZE, SIZE))
        plan = plan_of(spec, self.objective, BATCH)
        self._step = partial(self._stepper.step, batch, plan, NOW)
        self._saved = 0
        self.waited: list[float] = []
        """Seconds that the training thread stood still for each checkpoint."""

    def seconds(self, *, saves: bool) -> float:
        """Of `STEPS` steps, the first of which follows a checkpoint if it `saves`; what another
        thread still has to write after the last one is waited for."""
        writer = BackgroundWriter()
        started = time.perf_counter()
        if saves:
            writer.submit(self._copied())
            self.waited.append(time.perf_counter() - started)
        for _ in range(STEPS):
            self._step()
        writer.close()
        return time.perf_counter() - started

    def _copied(self) -> Callable[[], None]:
        """What writes the state as it is now."""
        self._saved += 1
        state = TrainingState(
            step=self._saved,
            objective=to_host(dict(self.objective.state_dict())),
            optimizer=to_host(self._optimizer.state_dict()),
            scaler={},
            pending=torch.zeros(0, 1),
            skipped=0,
            visible_tokens=0,
        )
        manifest = CheckpointManifest(
            step=self._saved,
            epoch=0.0,
            files={},
            sizes={},
            fence=0,
            code_fingerprint="",
            journal_seq=0,
            next_batch_hash="",
        )

        def write() -> None:
            write_checkpoint(self._folder, state, manifest, lambda: None)
            prune(self._folder, keep_last=1, keep_steps=set())

        return write


def run(folder: Path) -> list[Row]:
    trial = Trial(folder)
    trial.seconds(saves=True)
    trial.waited.clear()
    contestants = {
        "with": partial(trial.seconds, saves=True),
        "without": partial(trial.seconds, saves=False),
    }
    found = alternate(contestants, ROUNDS)
    between = EVERY / STEPS * statistics.median(found["without"])
    costs = [saving - alone for saving, alone in zip(found["with"], found["without"], strict=True)]
    figures = {
        "encoder M parameters": trial.encoder_parameters / 1e6,
        "s a checkpoint costs, median": statistics.median(costs),
        "least": min(costs),
        "most": max(costs),
        "training stood still, share of the steps' time": statistics.median(trial.waited) / between,
        "s a step": statistics.median(found["without"]) / STEPS,
    }
    return [
        Row(
            f"{EVERY} steps of MAE, ViT-S/16, {BATCH} images, with a checkpoint", "without",
            between / (between + statistics.median(costs)), "≥ 0.99", figures,
        )
    ]  # fmt: skip
