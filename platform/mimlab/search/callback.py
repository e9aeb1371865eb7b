"""What the driver does at Ray Tune's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from mimlab.storage.control import StopRequest, request_stop
from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import LeaseLost
from mimlab.train.log import TrialLog

MAX_DEATHS = 10
"""Of a trial's own process, one after the other, without a new checkpoint in between. It follows
and trains nothing itself, so what kills it is its machine, which a long trial on spot machines
loses any number of times."""


class TrialDeaths(TrialProgressCallback):
    """Gives a trial up whose process dies again and again while it comes no further: the next one
    finds that it is to end. Takes the place of the callback by which Tune prints results."""

    def __init__(self, folder_of: Callable[[str], TrialFolder], check_fence: Callable[[], None]):
        """`folder_of`: a trial's folder by its id; `check_fence` raises LeaseLost once another
        driver has come."""
        super().__init__()
        self._folder_of = folder_of
        self._check_fence = check_fence
        self._newest: dict[str, int] = {}
        self._count: dict[str, int] = {}

    def on_trial_recover(
        self,
        iteration: int,  # noqa: ARG002  Ray's names
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Called by Tune where a trial's process has died and is about to be started again."""
        folder = self._folder_of(trial.config["trial"]["trial_id"])
        try:
            self._count_one(folder)
        except OSError as error:  # raised here, it would end the study
            TrialLog(folder).write("storage fails", {"reason": str(error)})
        except LeaseLost:
            return

    def _count_one(self, trial: TrialFolder) -> None:
        newest = max(trial.steps("checkpoints"), default=0)
        same = newest == self._newest.get(trial.id)
        self._newest[trial.id] = newest
        times = self._count[trial.id] = self._count.get(trial.id, 0) + 1 if same else 1
        TrialLog(trial).write("its process died", {"times": times, "after_step": newest})
        if times > MAX_DEATHS:
            self._check_fence()
            words = f"its process died {times} times after step {newest}: see log.jsonl"
            request_stop(trial, StopRequest(state="failed", reason=words))

    def _print(self, msg: str) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a copy that nobody reads."""
        return {}
