"""The bill of a study, measured here before any of its trials runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mimlab.search.bill import Bill, ShapeBill
from mimlab.search.costs import (
    Cost,
    Measured,
    Range,
    costs_of,
    hours,
    stored_bytes,
    wall_s,
)
from mimlab.search.hour_limit import HourLimit, devices_of
from mimlab.search.measure import measure_shapes
from mimlab.search.shapes import shapes
from mimlab.search.submission import PlannedStudy, storage_of, trials_at_once, unfinished
from mimlab.search.work import judging_of, work_of
from mimlab.spec.study import Resources, trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import DONE, RESTARTED, TrialRecord
from mimlab.storage.store import Store
from mimlab.train.memory import remedy


@dataclass(frozen=True)
class Open:
    """The trials of a study that a run would start or continue, and how many it would not."""

    planned: PlannedStudy
    """With the open trials alone."""
    groups: list[list[TrialRecord]]
    """By shape."""
    finished: int
    failed: int


def open_trials(planned: PlannedStudy) -> Open:
    """By what identical trials in the storage have come to."""
    store = storage_of(planned.study)
    states = {r.id: TrialFolder(store, r.id).status().state for r in planned.trials}
    left = [r for r in planned.trials if states[r.id] not in DONE | RESTARTED]
    still = replace(planned, trials=left)
    return Open(
        planned=still,
        groups=shapes(still),
        finished=sum(state in DONE for state in states.values()),
        failed=sum(state in RESTARTED for state in states.values()),
    )


def bill_of(planned: PlannedStudy, on_shape: Callable[[int, int], None]) -> tuple[Bill, list[str]]:
    """Measure a trial of each shape that is still to run; the bill, and warnings.

    `on_shape(number, of)` is told which shape is being measured. Raises UserError if one of them
    cannot run here.
    """
    left = open_trials(planned)
    measured = measure_shapes(left.planned, left.groups, on_shape)
    bill = add_up(planned, left, measured)
    workers = planned.study.resources.fewest_workers
    trains = [trial_spec(group[0].resolved).train for group in left.groups]
    warnings = bill.warnings([remedy(train, workers) for train in trains])
    if planned.num_trials > len(planned.trials):
        warnings.append(
            f"sweep.search: billed are the {len(planned.trials)} trials that the search begins "
            f"with; it adds up to {planned.num_trials - len(planned.trials)} more"
        )
    return bill, warnings


def add_up(planned: PlannedStudy, left: Open, measured: Sequence[Measured]) -> Bill:
    """The bill, where a trial of each of the groups takes what was measured of its shape."""
    study, store = planned.study, storage_of(planned.study)
    devices, judging = devices_of(study.resources), judging_of(planned)
    at_once = trials_at_once(left.planned)
    works = {
        record.id: work_of(planned, record, TrialFolder(store, record.id), shape, judging)
        for shape, group in enumerate(left.groups)
        for record in group
    }
    # In the order in which they will run.
    order = [record.id for record in left.planned.trials]
    costs = dict(
        zip(order, costs_of([works[i] for i in order], measured, judging.factor), strict=True)
    )

    def shape_bill(group: Sequence[TrialRecord], takes: Measured) -> ShapeBill:
        ids = [record.id for record in group]
        return ShapeBill(
            point=group[0].point,
            trials=len(group),
            steps=sum(works[i].total - works[i].first for i in ids),
            measured=takes,
            images_per_s=trial_spec(group[0].resolved).train.batch_size / takes.step_s,
            wall_s=wall_s([costs[i] for i in ids], at_once),
            hours=hours([costs[i] for i in ids], devices.count),
            workers_at_once=_sharing(study.resources, at_once),
            storage_bytes=sum(stored_bytes(works[i], takes) for i in ids),
        )

    bills = [shape_bill(*pair) for pair in zip(left.groups, measured, strict=True)]
    # While a checkpoint is written, the one that it replaces is still there.
    written = at_once * max((takes.checkpoint_bytes for takes in measured), default=0)
    unfinished_one = unfinished(store, planned)
    return Bill(
        shapes=bills,
        finished=left.finished,
        failed=left.failed,
        at_once=at_once,
        workers=study.resources.fewest_workers,
        unit=devices.unit,
        hours=hours(list(costs.values()), devices.count),
        wall_s=_wall_s(list(costs.values()), at_once),
        storage_bytes=sum(shape.storage_bytes for shape in bills) + written,
        free_bytes=_free_bytes(store),
        spent_hours=HourLimit(unfinished_one, study.resources).spent() if unfinished_one else 0.0,
        limit_field=devices.field,
        limit_hours=devices.limit_hours,
    )


def _wall_s(costs: Sequence[Cost], at_once: int) -> Range:
    """Of all trials: however many are stopped, one runs to its end."""
    found = wall_s(costs, at_once)
    shortest = min((cost.high.wall_s for cost in costs), default=0.0)
    return Range(low=max(found.low, shortest), high=found.high)


def _sharing(resources: Resources, at_once: int) -> int:
    """Workers at once that share a memory: of one GPU, or of the host."""
    workers = at_once * resources.fewest_workers
    if not resources.gpus_per_worker:
        return workers
    return min(workers, max(1, int(1 / resources.gpus_per_worker)))


def _free_bytes(store: Store) -> int | None:
    if not isinstance(store.root, Path):
        return None
    exists = next(path for path in (store.root, *store.root.parents) if path.exists())
    return shutil.disk_usage(exists).free
