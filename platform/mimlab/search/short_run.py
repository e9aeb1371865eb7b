"""A few real steps of a trial, as its worker runs them: what is measured is what will run.

Shards, Ray Data, checkpoints, exports and probes are real; they are written to a folder that is
removed afterwards, and MLflow is not told.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from mimlab.data.segments import Place
from mimlab.probe.task import ProbeOrder
from mimlab.search.probe_cost import probe_seconds
from mimlab.search.submission import PlannedStudy
from mimlab.spec.study import Resources, trial_spec
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import TrialRecord
from mimlab.storage.store import Store
from mimlab.train.session import Session
from mimlab.train.worker_config import WorkerConfig

POINTS = 10
"""Of the curve; the first half warms up."""
SMALL_LR = 1e-9
CHECKPOINT_AT = 0.7
"""Share of the steps after which a checkpoint is taken, among the points that count."""


class ShortOrder(BaseModel):
    """What is to be run, in a form that reaches another process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trial_id: str
    spec: dict[str, Any]
    """`TrialSpec` in JSON form, with a few steps and one worker's share of the batch."""
    data: str
    """A path, or a URI."""
    resources: Resources

    @property
    def device(self) -> torch.device:
        """That a worker has."""
        return torch.device("cuda" if self.resources.gpus_per_worker else "cpu")


def short_order(planned: PlannedStudy, record: TrialRecord, *, steps: int) -> ShortOrder:
    """The trial with `steps` steps, random initial weights, and one worker's share of the batch:
    the largest one that it may have."""
    spec, resources = trial_spec(record.resolved), planned.study.resources
    batch_size = max(1, spec.train.batch_size // resources.fewest_workers)
    epochs = steps * batch_size / planned.images[record.id]
    resolved = spec.model_dump(mode="json")
    resolved["backbone"]["init"] = None
    resolved["train"] |= {
        "budget": {"steps": steps},
        "batch_size": batch_size,
        "warmup_epochs": 0.0,
        "log_every": max(1, steps // POINTS),
    }
    # A step's cost does not depend on it; without the warm-up, a large one might diverge.
    resolved["train"]["optimizer"]["base_lr"] = SMALL_LR
    resolved["train"]["checkpoint"]["every_epochs"] = CHECKPOINT_AT * epochs
    return ShortOrder(
        trial_id=record.id, spec=resolved, data=str(planned.data.root), resources=resources
    )


def lengthened(order: ShortOrder, times: int) -> ShortOrder:
    """The same with `times` as many steps, and as many points."""
    train = order.spec["train"]
    checkpoint = train["checkpoint"]
    longer = {
        "budget": {"steps": times * train["budget"]["steps"]},
        "log_every": times * train["log_every"],
        "checkpoint": checkpoint | {"every_epochs": times * checkpoint["every_epochs"]},
    }
    return order.model_copy(update={"spec": order.spec | {"train": train | longer}})


@dataclass(frozen=True)
class ShortRun:
    """What the steps have left behind."""

    order: ShortOrder
    session: Session
    trial: TrialFolder
    folder: Path
    """The storage that they were written to."""
    seconds: float
    """From building the model to the last write."""

    @property
    def points(self) -> list[dict[str, float]]:
        """The curves, without the half that warms up."""
        points = read_points(self.trial.store, self.trial.file("journal"))
        return [point.metrics for point in points[len(points) // 2 :]]

    @property
    def images_per_s(self) -> float:
        """Of one worker: the median of the points."""
        return statistics.median(point["train/images_per_s"] for point in self.points)

    @property
    def step_s(self) -> float:
        """Seconds of a step at that rate."""
        return self.session.spec.train.batch_size / self.images_per_s

    def probe_s(self) -> dict[str, float]:
        """Seconds of each probe of the study, by label; each is run now with its own features."""
        spec = self.session.spec
        order = ProbeOrder(
            storage=str(self.trial.store.root),
            spec=self.order.spec,
            data=self.order.data,
            threads=1,
            use_gpu=self.order.resources.gpus_per_worker > 0,
        )
        # Threads are as in a run.
        threads = torch.get_num_threads()
        seconds = {probe.label: probe_seconds(order, self.trial, probe) for probe in spec.probes}
        torch.set_num_threads(threads)
        return seconds


def run_short(order: ShortOrder, folder: Path) -> ShortRun:
    """Run the steps in this process, for which Ray must be running, writing below `folder`.

    Raises as `Session.run` does.
    """
    store = Store(folder)
    trial, submission = TrialFolder(store, order.trial_id), SubmissionFolder(store, "short")
    held = lease.acquire(submission)
    told = WorkerConfig(
        storage=str(store.root),
        submission_id=submission.id,
        trial_id=trial.id,
        spec=order.spec,
        data=order.data,
        fence=held.fence,
        attempt=1,
        code_fingerprint="",
        cpus=order.resources.cpus_per_worker,
    )
    started = time.perf_counter()
    session = Session(told, trial, Place(), order.device)
    session.run()
    seconds = time.perf_counter() - started
    held.release()
    return ShortRun(order, session, trial, folder, seconds)


def peak_memory(device: torch.device) -> int:
    """Bytes: of this process's tensors on a GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
