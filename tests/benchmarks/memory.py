"""What a study's processes hold beyond their imports, while a trial reads ImageNet JPEGs."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psutil
import torch

from benchmarks.data_sets import imagenet, shards_of
from benchmarks.measuring import Row
from benchmarks.training import STUDY, mimlab_run
from mimlab.spec.expand import expand
from mimlab.spec.load import load_study
from mimlab.train.build import build_objective

IMAGES, BATCH, SIZE, STEPS = 6400, 128, 224, 100
MIB, SAMPLE_S = 2**20, 0.5
WORKER_TITLE = "RayTrainWorker"
DRIVER_IMPORTS = "mimlab.cli.main, mimlab.search.driver, mimlab.track.view, mlflow, ray.tune"
WORKER_IMPORTS = "mimlab.train.worker, mimlab.train.session, ray.train.torch, torch._dynamo"
CHANGES = (
    f"data.image_size={SIZE}",
    "data.splits={train: train, probe_fit: train, probe_test: train}",
    "backbone={name: vit_tiny_patch16_224, depth: 1}",
    "objective={name: mae, decoder_width: 32, decoder_depth: 1, decoder_heads: 1}",
    f"train.budget={{steps: {STEPS}}}",
    f"train.batch_size={BATCH}",
    "train.warmup_epochs=0",
    "probes=[]",
    "sweep={axes: {masking.ratio: [0.75]}}",
)
"""A model of next to nothing, so that what is left is what mimlab itself holds."""


class Peaks(threading.Thread):
    """The most private memory that the driver and the train worker had, in MiB."""

    def __init__(self, driver: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.driver = 0.0
        self.worker = 0.0
        self._process = driver

    def run(self) -> None:
        while self._process.is_running():
            try:
                self._look()
                self._process.wait(SAMPLE_S)
            except psutil.TimeoutExpired:
                continue
            except psutil.NoSuchProcess:
                return

    def _look(self) -> None:
        self.driver = max(self.driver, _private(self._process))
        for child in self._process.children(recursive=True):
            try:
                if WORKER_TITLE in " ".join(child.cmdline()):
                    self.worker = max(self.worker, _private(child))
            except psutil.NoSuchProcess:
                continue


def run(folder: Path) -> list[Row]:
    shards_of(imagenet(folder / "jpegs", IMAGES), folder / "shards")
    storage = folder / "runs"
    changes = (*CHANGES, f"data.images={folder / 'shards'}", f"storage={storage}")
    process = mimlab_run(changes, folder)
    peaks = Peaks(psutil.Process(process.pid))
    peaks.start()
    if process.wait():
        raise RuntimeError("the study failed")
    driver = peaks.driver - _imports(DRIVER_IMPORTS)
    worker = peaks.worker - _imports(WORKER_IMPORTS) - _model(changes) - 2 * _batch()
    (log,) = storage.glob("submissions/*/ray-logs/raylet.out")
    spilled = log.read_text(errors="replace").count("Spilled")
    return [
        Row("memory of the driver beyond imports", "", None, "≤ 300 MiB", {"MiB": driver}),
        Row("memory of a train worker beyond imports, model, optimizer and two batches", "", None,
            "≤ 1 GiB", {"MiB": worker}),
        Row("object store spilled", "", None, "0", {"times": spilled}),
    ]  # fmt: skip


def _private(process: psutil.Process) -> float:
    """Without shared memory, which is the object store's."""
    return process.memory_full_info().uss / MIB


def _imports(modules: str) -> float:
    code = f"import psutil, {modules}; print(psutil.Process().memory_full_info().uss)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(found.stdout.split()[-1]) / MIB


def _model(changes: tuple[str, ...]) -> float:
    """Weights, gradients and AdamW's two moments."""
    (trial,) = expand(load_study(STUDY, overrides=changes))
    parameters = build_objective(trial.spec).parameters()
    return 4 * sum(p.numel() * p.element_size() for p in parameters) / MIB


def _batch() -> float:
    """Pixels as bytes and as floats."""
    return BATCH * 3 * SIZE * SIZE * (1 + torch.float32.itemsize) / MIB
