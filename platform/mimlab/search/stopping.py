"""Early stopping that asks instead of killing.

Ray Tune ends a stopped trial by killing its process, which loses the steps since the last
checkpoint and may leak the resources of the training nested in it. Here the scheduler's decision
becomes a request: the trial saves a checkpoint and ends by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
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


Past = Mapping[str, Sequence[ProbeRecord]]


def scheduler_of(
    stopping: Asha | Median | None,
    *,
    max_epochs: float,
    ask_to_stop: Callable[[str, str], None],
    past: Past,
    running: Collection[str] = (),
) -> TrialScheduler:
    """The scheduler of a study; `ask_to_stop(trial id, reason)` is told of its decisions.

    `past`: recorded results of every trial, by its id. They fill the rungs, or the medians, which
    Ray does not save. `running`: the trials among them that go on.
    """
    if stopping is None:
        return FIFOScheduler()
    rule = _median(stopping) if isinstance(stopping, Median) else _asha(stopping, max_epochs)
    found = AskingScheduler(rule, stopping.metric, ask_to_stop)
    found.remember(past, running)
    return found


def _asha(stopping: Asha, max_epochs: float) -> ASHAScheduler:
    return ASHAScheduler(
        time_attr=EPOCH,
        metric=stopping.metric,
        mode=stopping.mode,
        max_t=max(max_epochs, stopping.grace_epochs),  # pyright: ignore[reportArgumentType]
        grace_period=stopping.grace_epochs,  # pyright: ignore[reportArgumentType]
        reduction_factor=stopping.reduction_factor,
        stop_last_trials=False,
    )


def _median(stopping: Median) -> MedianStoppingRule:
    return MedianStoppingRule(
        time_attr=EPOCH,
        metric=stopping.metric,
        mode=stopping.mode,
        grace_period=stopping.grace_epochs,
        min_samples_required=stopping.min_trials,
        # Where there are too few others, a trial goes on instead of making room for them.
        min_time_slice=math.inf,  # pyright: ignore[reportArgumentType]
    )


@dataclass(frozen=True)
class Named:
    """All that a scheduler asks of a trial: the id that it keeps when Tune starts it anew."""

    trial_id: str

    @classmethod
    def of(cls, trial: Trial) -> Named:
        return cls(trial.config["trial"]["trial_id"])


class AskingScheduler(TrialScheduler):
    """Takes another scheduler's decisions and turns each `STOP` into a request."""

    def __init__(
        self,
        inner: ASHAScheduler | MedianStoppingRule,
        metric: str,
        ask_to_stop: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self._inner: Any = inner  # Ray's signatures want a controller, which neither of them asks
        self._metric_key = metric
        self._ask_to_stop = ask_to_stop
        self._asked: set[str] = set()
        self._heard: dict[str, float] = {}

    def remember(self, past: Past, running: Collection[str]) -> None:
        """Take the recorded results in the order in which they came, which the rungs depend on.

        What was decided then holds. Only the newest result of a trial that goes on is judged: the
        decision may have been lost with the driver that made it.
        """
        results = {trial: _in_order(past[trial], self._metric_key) for trial in past}
        newest = {trial: results[trial][-1] for trial in running if results.get(trial)}
        came = [(when, trial, found) for trial in results for when, found in results[trial]]
        for when, trial_id, result in sorted(came, key=lambda each: each[0]):
            self._heard[trial_id] = result[EPOCH]
            self._inner.on_trial_add(None, Named(trial_id))
            if newest.get(trial_id) == (when, result):
                self._judge(trial_id, result)
            else:
                # Takes a result and decides nothing.
                self._inner.on_trial_complete(None, Named(trial_id), result)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_add(tune_controller, Named.of(trial))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_error(tune_controller, Named.of(trial))

    def on_trial_result(
        self,
        tune_controller: Any,  # noqa: ARG002  Ray's name
        trial: Trial,
        result: dict,
    ) -> str:
        """Never stops a trial by itself. A trial that was asked to stop is not judged again."""
        trial_id = Named.of(trial).trial_id
        if trial_id in self._asked or self._metric_key not in result:
            return TrialScheduler.CONTINUE
        # A trial whose process is started again tells its results from the beginning.
        if result[EPOCH] <= self._heard.get(trial_id, -math.inf):
            return TrialScheduler.CONTINUE
        self._heard[trial_id] = result[EPOCH]
        self._judge(trial_id, result)
        return TrialScheduler.CONTINUE

    def _judge(self, trial_id: str, result: Mapping[str, float]) -> None:
        decision = self._inner.on_trial_result(None, Named(trial_id), result)
        if decision == TrialScheduler.STOP:
            score, epoch = result[self._metric_key], result[EPOCH]
            self._ask_to_stop(trial_id, f"{self._metric_key} {score:.4f} at epoch {epoch:.4g}")
            self._asked.add(trial_id)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict) -> None:
        """The rungs have seen every result already."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_remove(tune_controller, Named.of(trial))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return self._inner.debug_string()


def _in_order(records: Sequence[ProbeRecord], metric: str) -> list[tuple[int, dict[str, float]]]:
    """A trial's results that have the metric, by epochs, each with the time when it came."""
    found = sorted((r for r in records if metric in r.metrics), key=lambda record: record.epoch)
    # A clock that was set back does not change the order of a trial's own results.
    came = accumulate((record.time_ms for record in found), max)
    return [(at, {EPOCH: r.epoch, **r.metrics}) for at, r in zip(came, found, strict=True)]
