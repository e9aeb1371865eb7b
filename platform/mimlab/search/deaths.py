"""When workers that died are started again, and when the trial is given up or stopped instead."""

from __future__ import annotations

from typing import Any

from ray.train import UserCallback
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    TrainControllerState,
)

from mimlab.errors import in_a_line
from mimlab.storage.control import Outcome, read_outcome, stop_request, write_outcome
from mimlab.storage.folders import TrialFolder
from mimlab.train.log import TrialLog

MAX_DEATHS = 3
"""Of workers, one after the other, without a new checkpoint in between."""


class Deaths(UserCallback):
    """Gives a trial up whose workers die again and again and come no further: the next ones find an
    outcome and end at once. Those of a long trial may die any number of times."""

    def __init__(self, trial: TrialFolder) -> None:
        self._trial = trial
        self._newest = -1
        self._count = 0

    def after_exception(
        self,
        run_context: Any,  # noqa: ARG002  the name that Ray passes it by
        worker_exceptions: dict[int, Exception],
    ) -> None:
        try:
            if read_outcome(self._trial) is None:
                self._count_one(worker_exceptions)
        except OSError as error:  # raised here, it would end the trial
            TrialLog(self._trial).write("storage fails", {"reason": str(error)})

    def _count_one(self, errors: dict[int, Exception]) -> None:
        newest = max(self._trial.steps("checkpoints"), default=0)
        self._count = self._count + 1 if newest == self._newest else 1
        self._newest = newest
        reason = in_a_line(next(iter(errors.values())))
        TrialLog(self._trial).write("workers died", {"reason": reason, "times": self._count})
        if self._count > MAX_DEATHS:
            words = f"workers died {self._count} times after step {newest}: {reason}"
            write_outcome(self._trial, Outcome(state="failed", reason=words, step=newest))


class StopWhileWaiting(ControllerCallback):
    """A trial that waits for room for its workers has nobody else who would see a stop request."""

    def __init__(self, trial: TrialFolder) -> None:
        self._trial = trial

    def after_controller_state_update(
        self,
        previous_state: TrainControllerState,  # noqa: ARG002  Ray's name
        current_state: TrainControllerState,
    ) -> None:
        waiting = (InitializingState, RestartingState, ReschedulingState)
        if not isinstance(current_state, waiting):
            return
        try:
            asked = stop_request(self._trial)
            if asked is None:
                return
            step = self._trial.status().step
            write_outcome(self._trial, Outcome(state=asked.state, reason=asked.reason, step=step))
        except OSError:
            return  # looked at again at the next state
        raise RuntimeError(f"asked to end: {asked.reason}")  # ends Ray's controller
