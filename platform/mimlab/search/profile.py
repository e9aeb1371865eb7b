"""Where the time of a study's steps goes: some steps of each distinct shape, as a worker runs them.

The steps are real: shards, Ray Data, checkpoints and exports. They are written to a folder that is
removed afterwards, and MLflow is not told.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel

from mimlab.data.segments import Place
from mimlab.probe.due import AnyProbe
from mimlab.probe.task import ProbeOrder, probe_export
from mimlab.search.cluster import local_cluster
from mimlab.search.submission import PlannedStudy, create, plan_study, storage_of
from mimlab.spec.load import LoadedStudy, load_study
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import TrialRecord
from mimlab.train.build import build_masking
from mimlab.train.clock import PHASES
from mimlab.train.flops import matrix_rate, step_flops
from mimlab.train.session import Session, WorkerConfig
from mimlab_objectives.backbones.vit import grid_of
from mimlab_objectives.objectives.base import Batch, Progress

POINTS = 10
"""Of the curve of each shape; the first half warms up."""
CHECKPOINT_AT = 0.7
"""Share of the steps after which the one checkpoint is taken."""


class ShapeProfile(BaseModel):
    """One shape: trials whose steps do the same arithmetic."""

    point: dict[str, str | int | float | bool | None]
    """Of the trial that was run."""
    trials: int
    """That have this shape."""
    images_per_s: float
    """Of one worker."""
    step_s: float
    shares: dict[str, float]
    """Of the step's time: waiting for data, each phase, and what is left."""
    flops_per_image: float
    flop_rate: float
    """FLOP/s, over the whole step."""
    matrix_rate: float
    """FLOP/s of the machine's own large fp32 matrix products."""
    peak_memory_bytes: int
    """Of the device where there is one, else of the process."""
    probe_s: dict[str, float]
    """Seconds of each probe of the study."""


def shapes(planned: PlannedStudy) -> list[list[TrialRecord]]:
    """The trials grouped by what a step's cost depends on, in the study's order."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in planned.trials:
        groups.setdefault(_shape(trial_spec(record.resolved)), []).append(record)
    return list(groups.values())


def profile(loaded: LoadedStudy, *, steps: int) -> list[ShapeProfile]:
    """Run `steps` steps of each shape, one after the other, on this machine. Raises UserError."""
    with tempfile.TemporaryDirectory(prefix="mimlab-profile-") as folder:
        short = _shortened(loaded, Path(folder), steps)
        planned = plan_study(short)
        submission = create(storage_of(short.study), planned, short)
        held = lease.acquire(submission)
        with local_cluster(Path(folder)):
            found = [_profile(submission, planned, group, held.fence) for group in shapes(planned)]
        held.release()
        return found


def _shape(spec: TrialSpec) -> str:
    grid = grid_of(spec.backbone, spec.data.image_size)
    return json.dumps(
        {
            "image_size": spec.data.image_size,
            "backbone": spec.backbone.model_dump(exclude={"drop_path"}),
            "objective": spec.objective.model_dump(),
            "target": spec.target.model_dump(),
            "batch": [spec.train.batch_size, spec.train.accumulate, spec.train.precision],
            "hidden": build_masking(spec, grid).num_hidden,
        }
    )


def _shortened(loaded: LoadedStudy, folder: Path, steps: int) -> LoadedStudy:
    """The same study with a few steps, one checkpoint, and one worker's share of the batch."""
    study = loaded.study
    batch_size = max(1, study.train.batch_size // study.resources.workers)
    planned = plan_study(loaded)
    epochs = steps * batch_size / min(planned.images.values())
    changes = [
        f"storage={folder}",
        "tracking.uri=null",
        f"data.images={planned.data.root}",
        # One checkpoint among the points that count.
        f"train.checkpoint.every_epochs={CHECKPOINT_AT * epochs}",
        f"train.budget={{steps: {steps}}}",
        "train.warmup_epochs=0",
        f"train.batch_size={batch_size}",
        f"train.log_every={max(1, steps // POINTS)}",
        "sweep.stopping=null",
        f"sweep.seeds=[{study.sweep.seeds[0]}]",
        "resources.workers=1",
    ]
    return load_study(loaded.path, loaded.preset, [*loaded.overrides, *changes])


def _profile(
    submission: SubmissionFolder, planned: PlannedStudy, group: Sequence[TrialRecord], fence: int
) -> ShapeProfile:
    record, resources = group[0], planned.study.resources
    trial = TrialFolder(submission.store, record.id)
    told = WorkerConfig(
        storage=str(submission.store.root),
        submission_id=submission.id,
        trial_id=trial.id,
        spec=record.resolved,
        data=str(planned.data.root),
        fence=fence,
        attempt=1,
        code_fingerprint="",
        cpus=resources.cpus_per_worker,
    )
    device = torch.device("cuda" if resources.gpus_per_worker else "cpu")
    session = Session(told, trial, Place(), device)
    session.run()
    points = read_points(trial.store, trial.file("journal"))
    warm = [point.metrics for point in points[len(points) // 2 :]]
    images_per_s = statistics.median(metrics["train/images_per_s"] for metrics in warm)
    batch_size = session.spec.train.batch_size
    flops = _flops(session) / batch_size
    return ShapeProfile(
        point=record.point,
        trials=len(group),
        images_per_s=images_per_s,
        step_s=batch_size / images_per_s,
        shares=_shares(warm),
        flops_per_image=flops,
        flop_rate=flops * images_per_s,
        matrix_rate=matrix_rate(device),
        peak_memory_bytes=_peak_memory(device),
        probe_s=_probes(planned, trial, session.spec),
    )


def _shares(points: Sequence[dict[str, float]]) -> dict[str, float]:
    names = ("wait", *PHASES)
    found = {n: statistics.fmean(point[f"train/{n}_share"] for point in points) for n in names}
    return found | {"other": max(0.0, 1 - sum(found.values()))}


def _flops(session: Session) -> int:
    spec, device = session.spec, session.device
    ids = torch.arange(spec.train.batch_size)
    size = spec.data.image_size
    batch = Batch(ids, torch.randn(len(ids), 3, size, size, device=device))
    keys = session.planner.keys(ids, torch.zeros_like(ids))
    objective = session.objective
    plan = session.planner.plan(keys, Progress(0, 0.0), objective=objective, batch=batch)
    return step_flops(objective, batch, plan.to(device))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _probes(planned: PlannedStudy, trial: TrialFolder, spec: TrialSpec) -> dict[str, float]:
    order = ProbeOrder(
        storage=str(trial.store.root),
        spec=spec.model_dump(mode="json"),
        data=str(planned.data.root),
        threads=1,
        use_gpu=planned.study.resources.gpus_per_worker > 0,
    )
    return {probe.name: _seconds(order, trial, probe) for probe in spec.probes}


def _seconds(order: ProbeOrder, trial: TrialFolder, probe: AnyProbe) -> float:
    """Of one probe with its own features; threads and priority are as in a run."""
    threads = torch.get_num_threads()
    started = time.perf_counter()
    probe_export(order.model_dump(mode="json"), trial.id, trial.steps("exports")[-1], [probe.name])
    torch.set_num_threads(threads)
    return time.perf_counter() - started
