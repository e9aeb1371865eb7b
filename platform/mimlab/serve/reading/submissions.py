"""A submission as the list shows it: state, progress, time left, hours, health."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mimlab.search.hours_text import hours_text
from mimlab.serve.reading.hours import Devices
from mimlab.serve.reading.models import Place, ShownState, SubmissionSummary
from mimlab.serve.reading.trials import progress_of
from mimlab.storage.records import DONE, RESTARTED, StatusRecord, SubmissionRecord, TrialRecord

State = Literal["running", "pending", "lost", "finished", "stopped", "failed"]
_ALARMING: Mapping[ShownState, str] = {
    "lost": "lost: recorded as running, but nothing is heard of them",
    "failed": "failed",
    "diverged": "diverged",
}
NEARLY_SPENT = 0.9
"""Share of the hours from which on the list says so."""


@dataclass(frozen=True)
class Looked:
    """What was read of a submission."""

    record: SubmissionRecord
    resolved: Mapping[str, Any]
    """The study in JSON form; empty where it is missing."""
    trials: Sequence[TrialRecord]
    statuses: Sequence[StatusRecord]
    states: Sequence[ShownState]
    paused: frozenset[str]
    """Ids of the trials that wait until they are resumed themselves."""
    driver_alive: bool | None
    queued: Place | None
    hours_spent: float | None

    @property
    def devices(self) -> Devices:
        return Devices.of(self.resolved.get("resources", {}))

    @property
    def num_trials(self) -> int:
        """In all: an adaptive search says how many it is going to make."""
        sweep = self.resolved.get("sweep", {})
        asked = (sweep.get("search") or {}).get("num_trials")
        is_adaptive = (sweep.get("search") or {}).get("name") == "optuna"
        expected = asked * len(sweep.get("seeds", [0])) if asked and is_adaptive else 0
        return max(expected, len(self.trials))


def resolved_of(data: bytes) -> Mapping[str, Any]:
    """A resolved study; empty where it cannot be read: the trials tell enough to be shown."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def summary_of(looked: Looked) -> SubmissionSummary:
    """The row of the list."""
    record, devices = looked.record, looked.devices
    progress = sum(map(progress_of, looked.statuses)) / max(1, looked.num_trials)
    return SubmissionSummary(
        id=record.id,
        study=record.study,
        question=record.question,
        user=record.user,
        created=record.created,
        state=state_of(looked),
        driver_alive=looked.driver_alive,
        queued=looked.queued,
        trials=dict(Counter(looked.states)),
        num_trials=looked.num_trials,
        progress=progress,
        eta_s=eta_s(looked),
        hours_spent=looked.hours_spent,
        hours_limit=devices.limit_hours,
        hours_unit=devices.unit,
        health=health(looked),
    )


def state_of(looked: Looked) -> State:
    """In one word."""
    states = set(looked.states)
    complete = len(looked.trials) >= looked.num_trials
    if states <= DONE and complete:
        return "finished"
    if looked.driver_alive is not False:
        return "running"
    if "lost" in states:
        return "lost"
    if states <= {"pending"}:
        return "pending"
    return "failed" if states <= DONE | RESTARTED and complete else "stopped"


def eta_s(looked: Looked) -> float | None:
    """What is left of all trials ÷ those that run now, at their present rates, and not less than
    the longest of these takes. None while nothing runs."""
    running = [
        (status.total_steps - status.step) * _batch(trial) / status.images_per_s
        for trial, status, state in zip(looked.trials, looked.statuses, looked.states, strict=True)
        if state == "running" and status.images_per_s > 0
    ]
    if not running:
        return None
    known = [status for status in looked.statuses if status.images_per_s > 0 and status.total_steps]
    batch = _batch(looked.trials[0])
    whole = [status.total_steps * batch / status.images_per_s for status in known]
    usual = sum(whole) / len(whole)
    open_states = ("pending", "stopped", "preempted")
    waiting = sum(
        (1 - progress_of(status)) * usual
        for status, state in zip(looked.statuses, looked.states, strict=True)
        if state in open_states
    )
    waiting += (looked.num_trials - len(looked.trials)) * usual
    return max(max(running), (sum(running) + waiting) / len(running))


def _how_to_go_on(looked: Looked) -> str:
    rows = zip(looked.trials, looked.states, strict=True)
    left = {trial.id for trial, state in rows if state not in DONE | RESTARTED}
    if left <= looked.paused and len(looked.trials) >= looked.num_trials:
        return "what is left of it is paused; resume that trial by trial"
    return "resume it to go on"


def _batch(trial: TrialRecord) -> int:
    return trial.resolved.get("train", {}).get("batch_size", 1)


def health(looked: Looked) -> list[str]:
    """What somebody should look at."""
    counts = Counter(looked.states)
    said: list[str] = []
    for state, words in _ALARMING.items():
        if counts[state]:
            said.append(f"{counts[state]} {words}")
    waiting = {
        status.reason
        for status, state in zip(looked.statuses, looked.states, strict=True)
        if state == "running" and status.reason
    }
    said += sorted(waiting)
    if state_of(looked) == "stopped" and looked.queued is None:
        said.append(f"nobody runs it: {_how_to_go_on(looked)}")
    limit, spent = looked.devices.limit_hours, looked.hours_spent
    if limit is not None and spent is not None and spent >= NEARLY_SPENT * limit:
        said.append(f"{hours_text(spent)} of {limit:,g} {looked.devices.unit} are spent")
    return said
