"""Where the time of a study's steps goes: some steps of each distinct shape."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from mimlab.search.cluster import local_cluster
from mimlab.search.shapes import shapes
from mimlab.search.short_run import ShortRun, peak_memory, run_short, short_order
from mimlab.search.submission import PlannedStudy, plan_study
from mimlab.spec.load import LoadedStudy
from mimlab.storage.records import TrialRecord
from mimlab.train.clock import PHASES
from mimlab.train.flops import matrix_rate, step_flops
from mimlab.train.session import Session
from mimlab_objectives.objectives.base import Batch, Progress


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


def profile(loaded: LoadedStudy, *, steps: int) -> list[ShapeProfile]:
    """Run `steps` steps of each shape, one after the other, on this machine. Raises UserError."""
    planned = plan_study(loaded)
    with tempfile.TemporaryDirectory(prefix="mimlab-profile-") as folder:
        place = Path(folder)
        with local_cluster(place):
            return [_profile(planned, group, place, steps=steps) for group in shapes(planned)]


def _profile(
    planned: PlannedStudy, group: Sequence[TrialRecord], folder: Path, *, steps: int
) -> ShapeProfile:
    ran = run_short(short_order(planned, group[0], steps=steps), folder / group[0].id)
    flops = _flops(ran.session) / ran.session.spec.train.batch_size
    device = ran.order.device
    return ShapeProfile(
        point=group[0].point,
        trials=len(group),
        images_per_s=ran.images_per_s,
        step_s=ran.step_s,
        shares=_shares(ran),
        flops_per_image=flops,
        flop_rate=flops * ran.images_per_s,
        matrix_rate=matrix_rate(device),
        peak_memory_bytes=peak_memory(device),
        probe_s=ran.probe_s(),
    )


def _shares(ran: ShortRun) -> dict[str, float]:
    names = ("wait", *PHASES)
    points = ran.points
    found = {n: statistics.fmean(point[f"train/{n}_share"] for point in points) for n in names}
    return found | {"other": max(0.0, 1 - sum(found.values()))}


def _stored(session: Session, count: int) -> Tensor | None:
    """Of the shape that a token store gives, if one is read."""
    if session.store is None:
        return None
    dtype = torch.int64 if session.store.kind == "codes" else torch.float32
    return torch.zeros(count, *session.store.shape, dtype=dtype, device=session.device)


def _flops(session: Session) -> int:
    spec, device = session.spec, session.device
    ids = torch.arange(spec.train.batch_size)
    size = spec.data.image_size
    images = torch.randn(len(ids), 3, size, size, device=device)
    labels = torch.zeros(len(ids), dtype=torch.int64, device=device)
    rows, columns = session.objective.backbone.grid
    maps = torch.rand(len(ids), rows * columns, device=device)
    batch = Batch(ids, images, labels, maps, _stored(session, len(ids)))
    keys = session.whole_planner.keys(ids, torch.zeros_like(ids))
    objective = session.objective
    plan = session.whole_planner.plan(keys, Progress(0, 0.0), objective=objective, batch=batch)
    return step_flops(objective, batch, plan.to(device))
