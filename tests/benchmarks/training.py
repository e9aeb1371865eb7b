"""A trial through Ray Train, Ray Data and MLflow against a bare loop on batches in memory."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil
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

STUDY = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"
PAUSE_S, REST_S = 2.5, 3.0
"""Ray's processes stand still and go on in turns; batches that are read ahead last for a pause."""


@dataclass(frozen=True)
class Case:
    """Two trials of a study, one after the other."""

    name: str
    steps: int
    warm: int
    """Steps that do not count."""
    rounds: int
    model: tuple[str, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """Of the quickstart."""
        return (
            *self.model,
            f"train.budget={{steps: {self.steps}}}",
            "train.log_every=1",
            "train.warmup_epochs=0.01",
            "probes=[]",
            "sweep={axes: {masking.ratio: [0.5, 0.75]}}",
        )


SMALL = Case(
    "2 M ViT at 32 px",
    steps=100,
    warm=20,
    rounds=3,
    model=(
        "data.image_size=32",
        "backbone={name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 192, depth: 5, "
        "num_heads: 3}",
        "objective={name: mae, decoder_width: 96, decoder_depth: 2, decoder_heads: 3}",
    ),
)
LARGE = Case(
    "ViT-S/16 at 224 px",
    steps=14,
    warm=4,
    rounds=2,
    model=(
        "data.image_size=224",
        "backbone={name: vit_small_patch16_224}",
        "objective={name: mae}",
        "train.batch_size=16",
    ),
)


def mimlab_run(changes: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """`mimlab run` of the quickstart with changes, in a process of its own."""
    options = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "mimlab.cli.main", "run", str(STUDY), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)


class Timed:
    """`mimlab run` of a case in a process of its own, and what its journals say."""

    def __init__(self, folder: Path, case: Case) -> None:
        self._folder = folder
        self._case = case
        self._runs = 0
        self.first_steps: list[float] = []
        """Seconds from the command to the first step of the first trial."""
        self.next_steps: list[float] = []
        """Seconds from the last step of the first trial to the first step of the second."""

    def images_per_s(self, *, checkpoint_epochs: float = 1000) -> float:
        """Of the second trial, which starts where processes have imported already."""
        started = time.time()
        storage, process = self._start(checkpoint_epochs)
        if process.wait():
            raise RuntimeError("the study failed")
        first, second = _trials(storage)
        self.first_steps.append(first[0].time_ms / 1e3 - started)
        self.next_steps.append((second[0].time_ms - first[-1].time_ms) / 1e3)
        return _median_rate(second[self._case.warm :])

    def undisturbed(self) -> float:
        """Images/s of the second trial's steps while every process of Ray but its worker is
        stopped: what they cost, and mimlab's own part does not."""
        storage, process = self._start(1000)
        pauses = list(_pauses(process))
        if process.wait():
            raise RuntimeError("the study failed")
        points = _trials(storage)[1][self._case.warm :]
        within = [
            after
            for before, after in pairwise(points)
            if any(a < before.time_ms / 1e3 and after.time_ms / 1e3 < b for a, b in pauses)
        ]
        return _median_rate(within)

    def _start(self, checkpoint_epochs: float) -> tuple[Path, subprocess.Popen[bytes]]:
        self._runs += 1
        storage = self._folder / f"runs{self._runs}"
        options = (f"train.checkpoint.every_epochs={checkpoint_epochs}", f"storage={storage}")
        return storage, mimlab_run((*self._case.changes, *options), self._folder)


def run(folder: Path) -> list[Row]:
    return [*_small(folder / "small"), *_large(folder / "large")]


def _small(folder: Path) -> list[Row]:
    folder.mkdir()
    timed = Timed(folder, SMALL)
    contestants = {
        "mimlab": timed.images_per_s,
        "bare loop": partial(bare_images_per_s, SMALL),
        "mimlab, 9 checkpoints": partial(timed.images_per_s, checkpoint_epochs=1),
        "mimlab, Ray stopped": timed.undisturbed,
    }
    found = alternate(contestants, SMALL.rounds)
    first, following = map(statistics.median, (timed.first_steps, timed.next_steps))
    return [
        Row(f"training phase, {SMALL.name}", "bare loop", ratio(found, "mimlab", "bare loop"),
            "≥ 0.95", medians(found, "images/s")),
        Row("the same while Ray's other processes are stopped", "bare loop",
            ratio(found, "mimlab, Ray stopped", "bare loop"), "", {}),
        Row("training with a checkpoint every 12 steps", "without",
            ratio(found, "mimlab, 9 checkpoints", "mimlab"), "≥ 0.99", {}),
        Row("command to first step, cold", "", None, "≤ 20 s", {"s": first}),
        Row("a trial's last step to the next one's first", "", None, "≤ 10 s", {"s": following}),
    ]  # fmt: skip


def _large(folder: Path) -> list[Row]:
    folder.mkdir()
    contestants = {
        "mimlab": Timed(folder, LARGE).images_per_s,
        "bare loop": partial(bare_images_per_s, LARGE),
    }
    found = alternate(contestants, LARGE.rounds)
    return [
        Row(f"training phase, {LARGE.name}", "bare loop", ratio(found, "mimlab", "bare loop"),
            "≥ 0.95", medians(found, "images/s")),
    ]  # fmt: skip


def bare_images_per_s(case: Case) -> float:
    """What a researcher's own loop gives: batches in memory, masks planned on the way."""
    spec = _spec(case)
    objective = build_objective(spec).train()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1.5e-3, fused=True)
    planner = Planner(build_masking(spec, objective.backbone.grid), 0)
    size, batch_size = spec.data.image_size, spec.train.batch_size
    batches = torch.randn(8, batch_size, 3, size, size)
    ids = torch.arange(batch_size)
    spent = []
    for step in range(case.steps):
        start = time.perf_counter()
        now = Progress(step, step / case.steps)
        plan = planner.plan(planner.keys(ids, ids * 0 + step), now)
        output = objective(Batch(ids, batches[step % len(batches)]), plan, now)
        (output.loss_sum / output.loss_count).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        spent.append(time.perf_counter() - start)
    return batch_size / statistics.median(spent[case.warm :])


def _pauses(process: subprocess.Popen[bytes]) -> Iterator[tuple[float, float]]:
    """Stop Ray's processes again and again while the study trains: (from, to) in Unix seconds."""
    study = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(REST_S)
        if not (others := _beside_the_worker(study)):
            continue
        for other in others:
            _send(other, "suspend")
        start = time.time()
        time.sleep(PAUSE_S)
        yield start, time.time()
        for other in others:
            _send(other, "resume")


def _beside_the_worker(study: psutil.Process) -> list[psutil.Process]:
    """The processes of a study but the one that trains; none where none has trained for long."""
    try:
        processes = [study, *study.children(recursive=True)]
        workers = [p for p in processes if "RayTrainWorker" in "".join(p.cmdline()[:1])]
        trains = [p for p in workers if time.time() - p.create_time() > 15]
    except psutil.Error:
        return []
    return [p for p in processes if p not in trains] if trains else []


def _send(process: psutil.Process, what: str) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend() if what == "suspend" else process.resume()


def _median_rate(points: Sequence[JournalPoint]) -> float:
    return statistics.median(point.metrics["train/images_per_s"] for point in points)


def _trials(storage: Path) -> tuple[list[JournalPoint], list[JournalPoint]]:
    """The points of the two trials, in the order in which they ran."""
    store = Store(storage)
    ids = [path.name for path in (storage / "trials").iterdir()]
    trials = [list(read_points(store, TrialFolder(store, i).file("journal"))) for i in ids]
    first, second = sorted(trials, key=lambda points: points[0].time_ms)
    return first, second


def _spec(case: Case) -> TrialSpec:
    """The second trial, as the study means it."""
    from mimlab.spec.expand import expand
    from mimlab.spec.load import load_study

    return expand(load_study(STUDY, overrides=case.changes))[1].spec
