"""Early stopping that asks instead of killing.

Ray Tune ends a stopped trial by killing its process, which loses the steps since the last
checkpoint and may leak the resources of the training nested in it. Here the scheduler's decision
becomes a request: the trial saves a checkpoint and ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from mimlab.spec.sweep import Asha
from mimlab.storage.records import ProbeRecord

EPOCH = "epoch"
"""Key of a result that says how far a trial is; it goes on where it was after a resume."""


def scheduler_of(
    stopping: Asha | None,
    *,
    max_epochs: float,
    ask_to_stop: Callable[[str, str], None],
    past: Mapping[str, Sequence[ProbeRecord]],
) -> TrialScheduler:
    """The scheduler of a study; `ask_to_stop(trial id, reason)` is told of its decisions.

    `past`: results of the trials that do not run again. They fill the rungs, which Ray does not
    save.
    """
    if stopping is None:
        return FIFOScheduler()
    asha = ASHAScheduler(
        time_attr=EPOCH,
        metric=stopping.metric,
        mode=stopping.mode,
        max_t=max(max_epochs, stopping.grace_epochs),  # pyright: ignore[reportArgumentType]
        grace_period=stopping.grace_epochs,  # pyright: ignore[reportArgumentType]
        reduction_factor=stopping.reduction_factor,
        stop_last_trials=False,
    )
    for trial_id, records in past.items():
        remembered = _PastTrial(trial_id)
        asha.on_trial_add(None, remembered)  # pyright: ignore[reportArgumentType]
        for record in records:
            result = {EPOCH: record.epoch, **record.metrics}
            asha.on_trial_result(None, remembered, result)  # pyright: ignore[reportArgumentType]
    return AskingScheduler(asha, stopping.metric, ask_to_stop)


@dataclass(frozen=True)
class _PastTrial:
    """All that ASHA asks of a trial."""

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

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict) -> str:
        """Never stops a trial by itself. A trial that was asked to stop is not judged again."""
        trial_id = trial.config["trial"]["trial_id"]
        if trial_id in self._asked or self._metric_key not in result:
            return TrialScheduler.CONTINUE
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
