"""Which metric may rank the trials of a study: a probe's, measured in time; never a loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mimlab.probe.base import Probe
from mimlab.probe.config import metric_of
from mimlab.spec.errors import Problem
from mimlab.spec.positions import Keys
from mimlab.spec.sweep import GridSearch, RandomSearch, SweepConfig

TASK_SECTIONS = ("objective", "target", "masking")
"""Trials that differ here solve different tasks: what is easier to predict has the lower loss."""

Probes = Sequence[Probe]


def ranking_problems(sweep: SweepConfig, probes: Probes, epochs: float | None) -> Iterator[Problem]:
    """What keeps a search or a stopping rule from ranking trials that have these probes.

    `epochs`: the budget, None where it is given otherwise.
    """
    yield from metric_problems(sweep, probes)
    stopping = sweep.stopping
    if stopping is not None and epochs is not None and stopping.grace_epochs >= epochs:
        message = f"{stopping.grace_epochs:g} is not below the budget of {epochs:g} epochs"
        keys = ("sweep", "stopping", "grace_epochs")
        yield Problem(keys, f"{message}; nothing would ever stop")


def metric_problems(sweep: SweepConfig, probes: Probes) -> Iterator[Problem]:
    """The same, of the metrics alone."""
    keys: Keys = ("sweep", "stopping", "metric")
    measured = [metric_of(probe) for probe in probes]
    if sweep.stopping is not None:
        metric = sweep.stopping.metric
        during = [metric_of(probe) for probe in probes if probe.every_epochs is not None]
        if metric in measured and metric not in during:
            message = f"{metric} is measured only at the end; give its probe `every_epochs`"
            yield Problem(keys, message)
        elif metric not in during:
            ranks = _listed(during, "none: add a probe with `every_epochs`")
            yield Problem(keys, f"{_why_not(metric, sweep, 'while they run')}{ranks}")
    if not isinstance(sweep.search, GridSearch | RandomSearch):
        metric = sweep.search.metric
        if metric not in measured:
            ranks = _listed(measured, "none: add a probe")
            keys = ("sweep", "search", "metric")
            yield Problem(keys, f"{_why_not(metric, sweep, 'for a search')}{ranks}")


def _why_not(metric: str, sweep: SweepConfig, purpose: str) -> str:
    varied = [path for path in _paths(sweep) if path.split(".")[0] in TASK_SECTIONS]
    reason = ""
    if varied and metric.endswith("loss"):
        names = _listed([f"`{path}`" for path in varied], "")
        reason = f": with {names} the task changes, and losses of two tasks are no measure"
    return f"{metric} cannot rank trials {purpose}{reason}; of the probes there are "


def _paths(sweep: SweepConfig) -> list[str]:
    axes = [*sweep.axes, *(path for when in sweep.when for path in when.axes)]
    return list(dict.fromkeys(axes))


def _listed(words: Sequence[str], none: str) -> str:
    return ", ".join(words) if words else none
