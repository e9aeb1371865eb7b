"""How many trials fit on a cluster at once, so that none can starve another of what it needs.

A trial holds its workers for as long as it trains. Reading data and probing must still run beside
them: each trial has a share of CPU for that set aside, and a trial is only started if all of it
fits. Nothing ever waits for a resource that a waiting trial holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mimlab.data.source import DECODE_CPUS, ReadResources
from mimlab.errors import UserError
from mimlab.spec.study import Resources

PROBE_CPUS = 0.4
"""CPUs set aside for a trial's probes."""
TRIAL_CPUS = 0.05
"""CPUs of the process that looks after a trial."""
ROUNDING = 1e-6


@dataclass(frozen=True)
class Capacity:
    """What a cluster has in all."""

    cpus: float
    gpus: float


def cpus_beside(*, probes: bool, decode: bool) -> float:
    """CPUs of a trial beside its workers: reading, probing and, if tasks `decode`, one of those."""
    # Twice: the next part of the plan begins to be read while the one before is still consumed.
    beside = TRIAL_CPUS + 2 * ReadResources().cpus + (PROBE_CPUS if probes else 0)
    return beside + (DECODE_CPUS if decode else 0)


def cpus_of_trial(
    resources: Resources, *, probes: bool, decode: bool = False, workers: int | None = None
) -> float:
    """CPUs that a trial needs in all; `workers`: None for as many as it may have."""
    workers = resources.most_workers if workers is None else workers
    return workers * resources.cpus_per_worker + cpus_beside(probes=probes, decode=decode)


def concurrent_trials(
    resources: Resources,
    capacity: Capacity,
    *,
    num_trials: int,
    probes: bool,
    decode: bool = False,
) -> int:
    """Trials to run at once: as many as fit, at most what the study asks for.

    Raises UserError, saying what is needed and what there is, if not even one fits.
    """
    fits = trials_that_fit(resources, capacity, probes=probes, decode=decode)
    if fits < 1:
        raise UserError(shortage(resources, capacity, probes=probes, decode=decode))
    return max(1, min(fits, resources.concurrent_trials or num_trials, num_trials))


def trials_that_fit(
    resources: Resources, capacity: Capacity, *, probes: bool, decode: bool = False
) -> int:
    """Trials that have all they need at once.

    Those whose number of workers may vary are counted with as many as they may have: one grows
    before another starts beside it. One of them runs if its fewest workers fit.
    """
    cpus = cpus_of_trial(resources, probes=probes, decode=decode)
    gpus = resources.most_workers * resources.gpus_per_worker
    if fits := _fitting(capacity, cpus=cpus, gpus=gpus):
        return fits
    fewest = resources.fewest_workers
    cpus = cpus_of_trial(resources, probes=probes, decode=decode, workers=fewest)
    return min(1, _fitting(capacity, cpus=cpus, gpus=fewest * resources.gpus_per_worker))


def shortage(
    resources: Resources, capacity: Capacity, *, probes: bool, decode: bool = False
) -> str:
    """What a trial needs, what there is in its place, and what to change."""
    workers = resources.fewest_workers
    gpus = workers * resources.gpus_per_worker
    if gpus > capacity.gpus:
        return (
            f"resources: a trial needs {gpus:g} GPUs ({workers} workers × "
            f"{resources.gpus_per_worker:g}), this cluster has {capacity.gpus:g}; "
            "lower resources.workers or resources.gpus_per_worker (0 trains on the CPU)"
        )
    cpus = cpus_of_trial(resources, probes=probes, decode=decode, workers=workers)
    beside = cpus - workers * resources.cpus_per_worker
    most = (capacity.cpus - beside) / workers
    return (
        f"resources: a trial needs {cpus:g} CPUs ({workers} workers × "
        f"{resources.cpus_per_worker:g}, and {beside:g} for reading and probes), this cluster has "
        f"{capacity.cpus:g}; set resources.cpus_per_worker to at most {max(most, 0):.2g}"
    )


def _fitting(capacity: Capacity, *, cpus: float, gpus: float) -> int:
    fits = math.floor(capacity.cpus / cpus + ROUNDING)
    return min(fits, math.floor(capacity.gpus / gpus + ROUNDING)) if gpus else fits
