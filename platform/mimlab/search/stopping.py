"""Early stopping that asks instead of killing.

Ray Tune ends a stopped trial by killing its process, which loses the steps since the last
checkpoint and may leak the resources of the training nested in it. Here the scheduler's decision
becomes a request: the trial saves a checkpoint and ends by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from mimlab.spec.sweep import Asha, Median
from mimlab.storage.records import ProbeRecord

EPOCH = "epoch"
"""Key of a result that says how far a trial is; it goes on where it was after a resume."""


def scheduler_of(
    stopping: Asha | Median | None,
    *,
    max_epochs: float,
    ask_to_stop: Callable[[str, str], None],
    past: Mapping[str, Sequence[ProbeRecord]],
) -> TrialScheduler:
    """The scheduler of a study; `ask_to_stop(trial id, reason)` is told of its decisions.

    `past`: results of the trials that do not run again. They fill the rungs, or the medians, which
    Ray does not save.
    """
    if stopping is None:
        return FIFOScheduler()
    if isinstance(stopping, Median):
        rule = _median(stopping, past)
    else:
        rule = _asha(stopping, max_epochs, past)
    return AskingScheduler(rule, stopping.metric, ask_to_stop)


Past = Mapping[str, Sequence[ProbeRecord]]


def _asha(stopping: Asha, max_epochs: float, past: Past) -> ASHAScheduler:
    asha = ASHAScheduler(
        time_attr=EPOCH,
        metric=stopping.metric,
        mode=stopping.mode,
        max_t=max(max_epochs, stopping.grace_epochs),  # pyright: ignore[reportArgumentType]
        grace_period=stopping.grace_epochs,  # pyright: ignore[reportArgumentType]
        reduction_factor=stopping.reduction_factor,
        stop_last_trials=False,
    )
    for trial, results in _remembered(past, stopping.metric):
        asha.on_trial_add(None, trial)  # pyright: ignore[reportArgumentType]
        for result in results:
            asha.on_trial_result(None, trial, result)  # pyright: ignore[reportArgumentType]
    return asha


def _median(stopping: Median, past: Past) -> MedianStoppingRule:
    median = MedianStoppingRule(
        time_attr=EPOCH,
        metric=stopping.metric,
        mode=stopping.mode,
        grace_period=stopping.grace_epochs,
        min_samples_required=stopping.min_trials,
        # Where there are too few others, a trial goes on instead of making room for them.
        min_time_slice=math.inf,  # pyright: ignore[reportArgumentType]
    )
    for trial, results in _remembered(past, stopping.metric):
        for result in results:
            # Takes a result without judging the trial, which has ended.
            median.on_trial_complete(None, trial, result)  # pyright: ignore[reportArgumentType]
    return median


def _remembered(past: Past, metric: str) -> Iterator[tuple[_PastTrial, list[dict[str, float]]]]:
    """The trials that have ended, and their results that have the metric."""
    for trial_id, records in past.items():
        results = [{EPOCH: r.epoch, **r.metrics} for r in records if metric in r.metrics]
        yield _PastTrial(trial_id), results


@dataclass(frozen=True)
class _PastTrial:
    """All that a scheduler asks of a trial."""

    trial_id: str


class AskingScheduler(TrialScheduler):
    """Takes another scheduler's decisions and turns each `STOP` into a request."""

    def __init__(
        self, inner: TrialScheduler, metric: str, ask_to_stop: Callable[[str, str], None]
    ) -> None:
        super().__init__()
        self._inner = inner
        self._metric_key = metric
        self._ask_to_stop = ask_to_stop
        self._asked: set[str] = set()
        self._heard: dict[str, float] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict) -> str:
        """Never stops a trial by itself. A trial that was asked to stop is not judged again."""
        trial_id = trial.config["trial"]["trial_id"]
        if trial_id in self._asked or self._metric_key not in result:
            return TrialScheduler.CONTINUE
        # A trial whose process is started again tells its results from the beginning.
        if result[EPOCH] <= self._heard.get(trial_id, -math.inf):
            return TrialScheduler.CONTINUE
        self._heard[trial_id] = result[EPOCH]
        decision = self._inner.on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self._asked.add(trial_id)
            score, epoch = result[self._metric_key], result[EPOCH]
            self._ask_to_stop(trial_id, f"{self._metric_key} {score:.4f} at epoch {epoch:.4g}")
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict) -> None:
        """The rungs have seen every result already."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return self._inner.debug_string()
