"""A worker that Ray ended because the machine had no memory left is not started again as it was."""

from __future__ import annotations

from typing import Any

from ray.exceptions import OutOfMemoryError
from ray.train import UserCallback

from mimlab.storage.control import Outcome, read_outcome, write_outcome
from mimlab.storage.folders import TrialFolder


class HostMemory(UserCallback):
    """Writes the outcome of such a trial; workers that are started again then end at once."""

    def __init__(self, trial: TrialFolder, remedy: str) -> None:
        """`remedy`: what would need less memory."""
        self._trial = trial
        self._remedy = remedy

    def after_exception(
        self,
        run_context: Any,  # noqa: ARG002  the name that Ray passes it by
        worker_exceptions: dict[int, Exception],
    ) -> None:
        errors = [cause for error in worker_exceptions.values() for cause in _chain(error)]
        killed = next((e for e in errors if isinstance(e, OutOfMemoryError)), None)
        if killed is None or read_outcome(self._trial) is not None:
            return
        figures = str(killed).strip().splitlines()[0]
        reason = f"out of memory on the host: {figures}; {self._remedy}"
        write_outcome(self._trial, Outcome(state="failed", reason=reason))


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and what it came from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    return found
