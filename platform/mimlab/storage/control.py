"""What is asked of a running trial, and how its training ended."""

from __future__ import annotations

from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import Record, TrialState


class StopRequest(Record):
    """Asks a trial to save a checkpoint and end its training."""

    state: TrialState
    """The state to end in: `stopped`, `preempted` or `pruned`."""
    reason: str


class Outcome(Record):
    """How the training phase ended; written once by rank 0 of the workers."""

    state: TrialState
    """`finished` where the budget is spent; probes may still be due."""
    reason: str = ""
    step: int = 0


def request_stop(trial: TrialFolder, request: StopRequest) -> None:
    trial.store.write_record(trial.file("stop.json"), request)


def stop_request(trial: TrialFolder) -> StopRequest | None:
    return trial.store.read_record(trial.file("stop.json"), StopRequest)


def write_outcome(trial: TrialFolder, outcome: Outcome) -> None:
    trial.store.write_record(trial.file("outcome.json"), outcome)


def read_outcome(trial: TrialFolder) -> Outcome | None:
    return trial.store.read_record(trial.file("outcome.json"), Outcome)


def clear(trial: TrialFolder) -> None:
    """Forget earlier requests and outcomes, before a trial starts or goes on."""
    for name in ("stop.json", "outcome.json"):
        trial.store.remove(trial.file(name))
