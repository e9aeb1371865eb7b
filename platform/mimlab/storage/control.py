"""What is asked of a running trial, and how its training ended."""

from __future__ import annotations

from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import Record, TrialState

PAUSE, PRUNE = "pause.json", "prune.json"


class StopRequest(Record):
    """Asks a trial to save a checkpoint and end its training."""

    state: TrialState
    """The state to end in: `stopped`, `preempted`, `failed` or `pruned`; `pending` where others go
    on."""
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


def request_prune(trial: TrialFolder, reason: str) -> None:
    """Ask the workers to save and end for good. Unlike other requests it holds over restarts: what
    was decided at a rung is not decided again, and its first reason stays."""
    trial.store.create(trial.file(PRUNE), StopRequest(state="pruned", reason=reason).to_bytes())


def withdraw_prune(trial: TrialFolder) -> None:
    trial.store.remove(trial.file(PRUNE))


def request_pause(trial: TrialFolder, reason: str) -> None:
    """Ask the workers to save and end, so that others, more or fewer, go on in their place."""
    trial.store.write_record(trial.file(PAUSE), StopRequest(state="pending", reason=reason))


def withdraw_pause(trial: TrialFolder) -> None:
    trial.store.remove(trial.file(PAUSE))


def asked_of_workers(trial: TrialFolder) -> StopRequest | None:
    """To stop, or else to be pruned, or else to pause: a request whose state is `pending`."""
    asked = stop_request(trial)
    for name in (PRUNE, PAUSE):
        asked = asked or trial.store.read_record(trial.file(name), StopRequest)
    return asked


def write_outcome(trial: TrialFolder, outcome: Outcome) -> None:
    trial.store.write_record(trial.file("outcome.json"), outcome)


def read_outcome(trial: TrialFolder) -> Outcome | None:
    return trial.store.read_record(trial.file("outcome.json"), Outcome)


def clear(trial: TrialFolder) -> None:
    """Forget earlier requests, but for that to prune, and outcomes: a trial starts or goes on."""
    for name in ("stop.json", PAUSE, "outcome.json"):
        trial.store.remove(trial.file(name))
