"""What a train worker is told by the trial that starts it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import check_attempt, check_fence
from mimlab.storage.patience import WAIT_S
from mimlab.storage.store import Store


class WorkerConfig(BaseModel):
    """Everything that a worker is told; it decides nothing itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage: str
    submission_id: str
    trial_id: str
    spec: dict[str, Any]
    """`TrialSpec` in JSON form, as the submission that runs the trial has it."""
    data: str
    fence: int
    attempt: int
    group: int | None = None
    """Number of the group that this worker writes for; None of those that write nothing."""
    code_fingerprint: str
    cpus: float
    wait_s: float = WAIT_S
    """How long storage is waited for that is away or full."""

    def check_fence(self, store: Store) -> None:
        """Raises LeaseLost once another driver, a later attempt at the trial, or workers that were
        started again have taken over."""
        check_fence(store, self.submission_id, self.fence)
        check_attempt(TrialFolder(store, self.trial_id), self.attempt, self.group)
