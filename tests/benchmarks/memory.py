"""What an import's and a study's processes hold beyond the libraries that they import."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
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
IMPORTER_IMPORTS = "mimlab.cli.main, mimlab.data.importing, ray.data"
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

Look = Callable[[psutil.Process], dict[str, float]]
"""Figures of a driver and its children at this moment."""


class Peaks(threading.Thread):
    """The largest of each figure while a process runs."""

    def __init__(self, process: subprocess.Popen[bytes], look: Look) -> None:
        super().__init__(daemon=True)
        self.found: dict[str, float] = {}
        self._process = psutil.Process(process.pid)
        self._look = look
        self.start()

    def run(self) -> None:
        while True:
            try:
                for name, value in self._look(self._process).items():
                    self.found[name] = max(self.found.get(name, 0.0), value)
                self._process.wait(SAMPLE_S)
                return
            except psutil.TimeoutExpired:
                continue
            except psutil.NoSuchProcess:
                return


def run(folder: Path) -> list[Row]:
    return [_import(folder), *_study(folder)]


def _import(folder: Path) -> Row:
    """CIFAR-10, all 60,000 images."""
    source = Path(os.environ["MIMLAB_TEST_DATA"], "cifar10")
    command = [sys.executable, "-m", "mimlab.cli.main", "data", "import", str(source)]
    imported = _imports(IMPORTER_IMPORTS)

    def look(driver: psutil.Process) -> dict[str, float]:
        workers = [p for p in driver.children(recursive=True) if _title(p).startswith("ray::")]
        private = [_private(process) for process in (driver, *workers)]
        return {"MiB": sum(max(0.0, size - imported) for size in private)}

    process = subprocess.Popen([*command, "--to", str(folder / "cifar")], stdout=subprocess.DEVNULL)
    peaks = Peaks(process, look)
    if process.wait():
        raise RuntimeError("the import failed")
    what = "memory of an import of 60,000 images beyond imports, all processes"
    return Row(what, "", None, "≤ 600 MiB", peaks.found)


def _study(folder: Path) -> list[Row]:
    shards_of(imagenet(folder / "jpegs", IMAGES), folder / "shards")
    storage = folder / "runs"
    changes = (*CHANGES, f"data.images={folder / 'shards'}", f"storage={storage}")

    def look(driver: psutil.Process) -> dict[str, float]:
        workers = [p for p in driver.children(recursive=True) if WORKER_TITLE in _title(p)]
        return {"driver": _private(driver), "worker": max(map(_private, workers), default=0.0)}

    process = mimlab_run(changes, folder)
    peaks = Peaks(process, look)
    if process.wait():
        raise RuntimeError("the study failed")
    driver = peaks.found["driver"] - _imports(DRIVER_IMPORTS)
    worker = peaks.found["worker"] - _imports(WORKER_IMPORTS) - _model(changes) - 2 * _batch()
    (log,) = storage.glob("submissions/*/ray-logs/raylet.out")
    spilled = log.read_text(errors="replace").count("Spilled")
    return [
        Row("memory of the driver beyond imports", "", None, "≤ 300 MiB", {"MiB": driver}),
        Row("memory of a train worker beyond imports, model, optimizer and two batches", "", None,
            "≤ 1 GiB", {"MiB": worker}),
        Row("object store spilled", "", None, "0", {"times": spilled}),
    ]  # fmt: skip


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _private(process: psutil.Process) -> float:
    """Without shared memory, which is the object store's; nothing of a process that has ended."""
    try:
        return process.memory_full_info().uss / MIB
    except psutil.Error:
        return 0.0


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
