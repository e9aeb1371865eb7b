"""What a trial still has to do, from its configuration and what its folder has come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mimlab.probe.config import metric_of
from mimlab.probe.due import due_steps
from mimlab.search.costs import TrialWork, milestones
from mimlab.search.submission import PlannedStudy
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.spec.sweep import Median
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import TrialRecord
from mimlab.train.schedule import steps_every, total_steps

MEDIAN_FACTOR = 2.0
"""Half of the trials are below the median at the first result that may stop them."""


@dataclass(frozen=True)
class Judging:
    """When early stopping looks at a trial."""

    metric: str = ""
    epochs: Sequence[float] = ()
    """Of the rungs."""
    factor: float | None = None
    """One of so many trials goes on at each rung; None: all of them."""


def judging_of(planned: PlannedStudy) -> Judging:
    """Of a study's `sweep.stopping`; nothing is judged where it has none."""
    stopping = planned.study.sweep.stopping
    if stopping is None:
        return Judging()
    if isinstance(stopping, Median):
        return Judging(stopping.metric, [stopping.grace_epochs], MEDIAN_FACTOR)
    most = max(_epochs(planned, record) for record in planned.trials)
    rungs = milestones(stopping.grace_epochs, stopping.reduction_factor, most)
    return Judging(stopping.metric, rungs, stopping.reduction_factor)


def work_of(
    planned: PlannedStudy, record: TrialRecord, trial: TrialFolder, shape: int, judging: Judging
) -> TrialWork:
    """The work that is left after the trial's newest checkpoint."""
    spec, num_images = trial_spec(record.resolved), planned.images[record.id]
    train, batch_size = spec.train, spec.train.batch_size
    total = total_steps(train.budget, num_images, batch_size)
    first = min(total, max(trial.steps("checkpoints"), default=0))
    probes = due_steps(spec.probes, num_images=num_images, batch_size=batch_size, total_steps=total)
    regular = steps_every(train.checkpoint.every_epochs, num_images, batch_size, total)
    saves = regular | set(probes) | {total}
    best = train.checkpoint.keep_best if spec.probes else 0
    return TrialWork(
        shape=shape,
        first=first,
        total=total,
        saves=tuple(sorted(step for step in saves if step > first)),
        probes={
            step: [probe.label for probe in due] for step, due in probes.items() if step > first
        },
        judged=tuple(step for step in _judged(spec, num_images, judging) if first < step < total),
        checkpoints=min(len(saves), train.checkpoint.keep_last + best),
        exports=len(set(probes) | {total}),
        points=-(-total // train.log_every),
    )


def _judged(spec: TrialSpec, num_images: int, judging: Judging) -> list[int]:
    """For each rung the first result at or above it, ascending; one result is judged once."""
    batch_size = spec.train.batch_size
    last = total_steps(spec.train.budget, num_images, batch_size)
    probe = next((p for p in spec.probes if metric_of(p) == judging.metric), None)
    if probe is None:
        return []
    results = sorted(steps_every(probe.every_epochs, num_images, batch_size, last))
    found = {
        next((step for step in results if step * batch_size / num_images >= rung), last)
        for rung in judging.epochs
    }
    return sorted(found)


def _epochs(planned: PlannedStudy, record: TrialRecord) -> float:
    train, num_images = trial_spec(record.resolved).train, planned.images[record.id]
    return total_steps(train.budget, num_images, train.batch_size) * train.batch_size / num_images
