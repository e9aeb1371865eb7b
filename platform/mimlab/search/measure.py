"""What a trial of each shape takes, measured on this machine: it is the one that will train.

Each shape is measured in a process of its own, because the peak memory of a process never falls.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import torch

from mimlab.errors import TrialError, UserError
from mimlab.search.cluster import local_cluster
from mimlab.search.costs import Measured
from mimlab.search.shapes import shape_of
from mimlab.search.short_run import (
    POINTS,
    ShortOrder,
    ShortRun,
    lengthened,
    peak_memory,
    run_short,
    short_order,
)
from mimlab.search.submission import PlannedStudy
from mimlab.spec.study import trial_spec
from mimlab.storage.records import TrialRecord
from mimlab.train.memory import remedy
from mimlab.train.saver import save_plan
from mimlab_objectives.registry import ParamsError

STEPS = 20
"""Of each shape: half of them warm up, and the median of five points of the others is taken, which
one slow step or one checkpoint does not move."""
LEAST_S = 5.0
"""Steps that take less in all are too short a look at a machine that does other things, too: there
are then more of them."""
MOST_TIMES = 20
"""As many steps."""


def measure_shapes(
    planned: PlannedStudy,
    groups: Sequence[Sequence[TrialRecord]],
    on_shape: Callable[[int, int], None],
) -> list[Measured]:
    """Of the first trial of each group; `on_shape(number, of)` is told which one begins. What is
    known by `planned.measured` is not measured again.

    Raises UserError that names a shape which does not run here, e.g. for want of memory.
    """
    found = []
    for number, group in enumerate(groups, start=1):
        known = planned.measured.get(shape_of(trial_spec(group[0].resolved)))
        if known is not None:
            found.append(known)
            continue
        on_shape(number, len(groups))
        order = short_order(planned, group[0], steps=STEPS)
        try:
            found.append(_in_own_process(order))
        except UserError as error:
            point = ", ".join(f"{path}={value}" for path, value in group[0].point.items())
            raise UserError(f"a step of {point or 'the study'} cannot run here: {error}") from error
    return found


def _in_own_process(order: ShortOrder) -> Measured:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(measure, order, time.monotonic()).result()
        except BrokenProcessPool as error:
            train = trial_spec(order.spec).train
            raise UserError(
                "its process was killed, as a system does that has no memory left; "
                + remedy(train, order.resources.fewest_workers)
            ) from error


def measure(order: ShortOrder, asked: float) -> Measured:
    """Run the steps and the probes in this process, on a Ray of its own.

    `asked`: `time.monotonic()` of this machine when this process was asked for. Raises
    UserError if a step fails.
    """
    import_s = time.monotonic() - asked
    there = _free_memory(order.device)
    with tempfile.TemporaryDirectory(prefix="mimlab-plan-") as folder, local_cluster(Path(folder)):
        try:
            first = run_short(order, Path(folder))
            peak = peak_memory(order.device)
            ran = _longer(first, Path(folder) / "longer")
        except (TrialError, ParamsError) as error:
            raise UserError(str(error)) from error
        return Measured(
            step_s=ran.step_s,
            save_s=_save_s(ran),
            start_s=import_s + max(0.0, first.seconds - STEPS * first.step_s),
            probe_s=ran.probe_s(),
            peak_bytes=peak,
            there_bytes=there,
            checkpoint_bytes=_size(ran, "checkpoints") // len(ran.trial.steps("checkpoints")),
            export_bytes=_size(ran, "exports", "boards") // len(ran.trial.steps("exports")),
            point_bytes=_size(ran, "journal") // POINTS,
        )


def _longer(ran: ShortRun, folder: Path) -> ShortRun:
    """The same again with more steps, where they were short."""
    times = min(MOST_TIMES, int(LEAST_S / (STEPS * ran.step_s)))
    return run_short(lengthened(ran.order, times), folder) if times > 1 else ran


def _free_memory(device: torch.device) -> int:
    """Bytes that there are for trials, of which this process may have taken some."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available + psutil.Process().memory_info().rss


def _save_s(ran: ShortRun) -> float:
    """Mean over the saves between the points that count."""
    points, session, train = ran.points, ran.session, ran.session.spec.train
    plan = save_plan(session.spec, session.split.num_rows, session.schedule.total_steps)
    images = train.batch_size * train.log_every
    seconds = sum(p["train/save_share"] * images / p["train/images_per_s"] for p in points)
    # What is saved after a point's last step delays the next point.
    first = plan.total_steps - len(points) * train.log_every
    saves = [s for s in plan.checkpoints | plan.exports if first <= s < plan.total_steps]
    return seconds / max(1, len(saves))


def _size(ran: ShortRun, *kinds: str) -> int:
    """Bytes below these folders of the trial."""
    folders = [ran.folder / ran.trial.file(kind) for kind in kinds]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
