"""Workers save before others, more or fewer, take their place, so that a resize loses no step."""

from __future__ import annotations

import time

from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import ResizingState, TrainControllerState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2._internal.execution.worker_group import WorkerGroup

from mimlab.storage.control import request_pause, withdraw_pause
from mimlab.storage.folders import TrialFolder
from mimlab.train.log import TrialLog

PATIENCE_S = 120.0
"""For the step at which several workers agree to pause, and for the checkpoint; without one the
others go on from the last."""
POLL_S = 0.2


class SaveBeforeResize(ControllerCallback, WorkerGroupCallback):
    """Runs in Ray Train's controller, which waits meanwhile."""

    def __init__(self, trial: TrialFolder, patience_s: float = PATIENCE_S) -> None:
        self._trial = trial
        self._patience_s = patience_s
        self._group: WorkerGroup | None = None
        self._to: int | None = None
        """Workers that come next, while a resize is under way."""

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        self._group = worker_group

    def after_controller_state_update(
        self,
        previous_state: TrainControllerState,  # noqa: ARG002  Ray's name
        current_state: TrainControllerState,
    ) -> None:
        if isinstance(current_state, ResizingState):
            decision = current_state.scaling_decision
            self._to = decision.num_workers if isinstance(decision, ResizeDecision) else None

    def before_controller_execute_resize_decision(
        self,
        resize_decision: ResizeDecision,  # noqa: ARG002  Ray's name
    ) -> None:
        """Where fewer come, a node is gone, and with it workers that the others wait for: none of
        them can save any more."""
        group = self._group
        if self._to is None or group is None:
            return
        before, after, self._to = len(group), self._to, None
        log = TrialLog(self._trial)
        try:
            saved = after > before and self._paused(group, f"{after} workers come in place")
        except OSError as error:  # raised here, it would end the trial
            log.write("storage fails", {"reason": str(error)})
            return
        log.write("resizing", {"from": before, "to": after, "saved": saved})

    def _paused(self, worker_group: WorkerGroup, reason: str) -> bool:
        """Ask the workers to save and end; whether all of them did."""
        request_pause(self._trial, reason)
        try:
            return self._ended(worker_group)
        finally:
            withdraw_pause(self._trial)

    def _ended(self, worker_group: WorkerGroup) -> bool:
        """Wait for the workers; whether all of them came to their ends."""
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            status = worker_group.poll_status(timeout=POLL_S)
            if status.errors:
                return False
            if status.finished:
                return True
            time.sleep(POLL_S)
        return False
