"""A trial through Ray Train, Ray Data and MLflow against a bare loop on batches in memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.measuring import Row, alternate, medians, ratio
from mimlab.spec.study import TrialSpec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import JournalPoint
from mimlab.storage.store import Store
from mimlab.train.build import build_masking, build_objective
from mimlab.train.feed import Planner
from mimlab_objectives.objectives.base import Batch, Progress

ROUNDS, STEPS, WARM = 3, 100, 20
STUDY = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"
CHANGES = (
    "data.image_size=32",
    "backbone={name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 192, depth: 5, num_heads: 3}",
    "objective={name: mae, decoder_width: 96, decoder_depth: 2, decoder_heads: 3}",
    f"train.budget={{steps: {STEPS}}}",
    "train.log_every=1",
    "train.warmup_epochs=1",
    "probes=[]",
    "sweep={axes: {masking.ratio: [0.5, 0.75]}}",
)
"""The 2 M ViT of CIFAR at 32 px, two trials one after the other."""


def mimlab_run(changes: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """`mimlab run` of the quickstart with changes, in a process of its own."""
    options = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "mimlab.cli.main", "run", str(STUDY), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)


class Timed:
    """`mimlab run` of two trials in a process of its own, and what its journals say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.first_steps: list[float] = []
        """Seconds from the command to the first step of the first trial."""
        self.next_steps: list[float] = []
        """Seconds from the last step of the first trial to the first step of the second."""

    def images_per_s(self, *, checkpoint_epochs: float) -> float:
        """Of the second trial, which starts where processes have imported already."""
        self._runs += 1
        storage = self._folder / f"runs{self._runs}"
        checkpoints = f"train.checkpoint.every_epochs={checkpoint_epochs}"
        started = time.time()
        process = mimlab_run((*CHANGES, checkpoints, f"storage={storage}"), self._folder)
        if process.wait():
            raise RuntimeError("the study failed")
        first, second = sorted(_journals(storage), key=lambda points: points[0].time_ms)
        self.first_steps.append(first[0].time_ms / 1e3 - started)
        self.next_steps.append((second[0].time_ms - first[-1].time_ms) / 1e3)
        return statistics.median(p.metrics["train/images_per_s"] for p in second[WARM:])


def run(folder: Path) -> list[Row]:
    timed = Timed(folder)
    contestants = {
        "mimlab": partial(timed.images_per_s, checkpoint_epochs=1000),
        "bare loop": bare_images_per_s,
        "mimlab, 9 checkpoints": partial(timed.images_per_s, checkpoint_epochs=1),
    }
    found = alternate(contestants, ROUNDS)
    figures = medians(found, "images/s")
    first, following = map(statistics.median, (timed.first_steps, timed.next_steps))
    return [
        Row("training phase, 2 M ViT", "bare loop", ratio(found, "mimlab", "bare loop"),
            "≥ 0.95", figures),
        Row("training with a checkpoint every 12 steps", "without",
            ratio(found, "mimlab, 9 checkpoints", "mimlab"), "≥ 0.99", {}),
        Row("command to first step, cold", "", None, "≤ 20 s", {"s": first}),
        Row("a trial's last step to the next one's first", "", None, "≤ 10 s", {"s": following}),
    ]  # fmt: skip


def bare_images_per_s() -> float:
    """What a researcher's own loop gives: batches in memory, masks planned on the way."""
    spec = _spec()
    objective = build_objective(spec).train()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1.5e-3, fused=True)
    planner = Planner(build_masking(spec, objective.backbone.grid), 0)
    size, batch_size = spec.data.image_size, spec.train.batch_size
    batches = torch.randn(8, batch_size, 3, size, size)
    ids = torch.arange(batch_size)
    spent = []
    for step in range(STEPS):
        start = time.perf_counter()
        now = Progress(step, step / STEPS)
        plan = planner.plan(planner.keys(ids, ids * 0 + step), now)
        output = objective(Batch(ids, batches[step % len(batches)]), plan, now)
        (output.loss_sum / output.loss_count).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        spent.append(time.perf_counter() - start)
    return batch_size / statistics.median(spent[WARM:])


def _journals(storage: Path) -> list[list[JournalPoint]]:
    store = Store(storage)
    ids = [path.name for path in (storage / "trials").iterdir()]
    trials = [TrialFolder(store, trial_id) for trial_id in ids]
    return [list(read_points(store, trial.file("journal"))) for trial in trials]


def _spec() -> TrialSpec:
    """The second trial, as the study means it."""
    from mimlab.spec.expand import expand
    from mimlab.spec.load import load_study

    return expand(load_study(STUDY, overrides=CHANGES))[1].spec
