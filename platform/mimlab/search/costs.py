"""What a study costs, from what a trial of each shape takes: pure arithmetic.

A trial holds its devices from its first step to its last probe: the steps that are left, the saves
that training waits for, and its probes, which share the trial's devices or step back for it.
Device hours are that time × the devices of a trial; wall time adds the start of each trial and
places the trials, in the study's order, on as many places as there are trials at once.

Where trials may be stopped early, both are a range. High: no trial is stopped. Low: at every step
at which a trial may be stopped, all are stopped but the ceil(n ÷ factor) that one in `factor` of n
leaves, one at least; each trial then counts by the share of trials that get past a step.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic import BaseModel, ConfigDict


class Measured(BaseModel):
    """What a trial of one shape takes; of one worker, where it has several."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step_s: float
    save_s: float
    """For which a checkpoint, an export or a board keeps training from going on."""
    start_s: float
    """From a new process to the first step: imports, model, first batch."""
    probe_s: dict[str, float]
    """Of one run of each probe."""
    peak_bytes: int
    """Memory, of the GPU where there is one."""
    there_bytes: int
    """Memory that was free for it, on the GPU or the host."""
    checkpoint_bytes: int
    export_bytes: int
    """With its board."""
    point_bytes: int
    """Of the journal, for each point."""


@dataclass(frozen=True)
class TrialWork:
    """What a trial still has to do."""

    shape: int
    """Number of its shape."""
    first: int
    """Steps that are done already."""
    total: int
    """Steps of its budget."""
    saves: tuple[int, ...]
    """Steps done, above `first`, at which something is saved."""
    probes: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Steps done, above `first`, and the probes due there."""
    judged: tuple[int, ...] = ()
    """Steps done, above `first`, ascending, at which it may be stopped."""
    checkpoints: int = 1
    """Kept at most."""
    exports: int = 1
    points: int = 0
    """Of its curves."""


class Range(BaseModel):
    """From all that early stopping may save to nothing of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float


@dataclass(frozen=True)
class Held:
    """What one trial takes, in seconds."""

    start_s: float
    held_s: float
    """From its first step to its last probe."""

    @property
    def wall_s(self) -> float:
        return self.start_s + self.held_s


def survivors(trials: int, factor: float, times: int) -> int:
    """Of `trials`, those that are left after being judged `times` times; at least one."""
    left = trials
    for _ in range(times):
        left = math.ceil(left / factor - 1e-9)
    return left


def milestones(grace: float, factor: float, most: float) -> list[float]:
    """Epochs below `most` at which asynchronous successive halving judges: `grace` × `factor`^k.

    As ray.tune.schedulers.async_hyperband counts them, which may leave out one at `most` itself.
    """
    count = int(math.log(most / grace) / math.log(factor) + 1) if most > grace else 1
    return [grace * factor**k for k in range(count)]


def expected(work: TrialWork, takes: Measured, passes: Sequence[float]) -> Held:
    """Seconds of a trial where a share `passes[k]` of trials gets past the k-th judged step.

    `passes[0]` is 1; with all of it 1, these are the seconds of a trial that nothing stops.
    """
    bounds = [work.first, *work.judged, work.total]
    steps = sum(passes[k] * (upper - lower) for k, (lower, upper) in enumerate(pairwise(bounds)))

    def reaches(step: int) -> float:
        return passes[sum(judged < step for judged in work.judged)]

    saves = sum(reaches(step) for step in work.saves)
    probed = sum(
        reaches(step) * takes.probe_s[name] for step, names in work.probes.items() for name in names
    )
    return Held(takes.start_s, takes.step_s * steps + takes.save_s * saves + probed)


def makespan(seconds: Sequence[float], places: int) -> float:
    """Until the last of some trials ends, each begun, in order, at the first place that is free."""
    ends = [0.0] * places
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


@dataclass(frozen=True)
class Cost:
    """Of one trial: with all the stopping that may be, as a mean over trials, and with none."""

    low: Held
    high: Held


def costs_of(
    works: Sequence[TrialWork], measured: Sequence[Measured], factor: float | None
) -> list[Cost]:
    """Of each trial; one in `factor` goes on each time it is judged; None stops nothing."""
    most = max((len(work.judged) for work in works), default=0)
    certain = [1.0] * (most + 1)
    passes = certain
    if factor is not None and works:
        passes = [survivors(len(works), factor, k) / len(works) for k in range(most + 1)]
    return [
        Cost(
            low=expected(work, measured[work.shape], passes),
            high=expected(work, measured[work.shape], certain),
        )
        for work in works
    ]


def wall_s(costs: Sequence[Cost], places: int) -> Range:
    """Of some trials, `places` of them at once."""
    return Range(
        low=makespan([cost.low.wall_s for cost in costs], places),
        high=makespan([cost.high.wall_s for cost in costs], places),
    )


def hours(costs: Sequence[Cost], devices: float) -> Range:
    """Device hours of some trials, each of which holds so many devices."""
    return Range(
        low=sum(cost.low.held_s for cost in costs) * devices / 3600,
        high=sum(cost.high.held_s for cost in costs) * devices / 3600,
    )


def stored_bytes(work: TrialWork, takes: Measured) -> int:
    """What a trial leaves behind that runs to its end: checkpoints, exports and boards, journal."""
    return (
        work.checkpoints * takes.checkpoint_bytes
        + work.exports * takes.export_bytes
        + work.points * takes.point_bytes
    )
