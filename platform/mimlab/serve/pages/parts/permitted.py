"""What may be done to a trial or a submission now, and if not, why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mimlab.serve.identity.permissions import Action, may, needed_role
from mimlab.serve.reading.models import (
    Place,
    SubmissionDetail,
    SubmissionSummary,
    TrialDetail,
    TrialSummary,
)
from mimlab.serve.routes.session import Identity
from mimlab.storage.lease import UNDER_WAY

Verb = Literal["stop", "pause", "resume", "retry failed", "fork", "extend"]
VERBS: tuple[Verb, ...] = ("stop", "pause", "resume", "retry failed", "fork", "extend")

_NEEDS: dict[Verb, Action] = {
    "stop": "stop",
    "pause": "pause",
    "resume": "resume",
    "retry failed": "resume",
    "fork": "fork",
    "extend": "extend",
}
_GOES_ON = frozenset({"pending", "stopped", "preempted", "lost"})
_FAILED = frozenset({"failed", "diverged"})
_NOTHING_LEFT = "nothing of it is left to do"
_QUEUED: Mapping[Place | None, str] = {
    "waiting": "it waits in the queue already",
    "started": "it is being started, or about to end",
}
"""What keeps a submission from being queued once more."""


def why_not(verb: Verb, identity: Identity, owner: str) -> str:
    """What keeps the role from it; empty where nothing does."""
    action = _NEEDS[verb]
    if may(identity.role, action, own=owner == identity.name):
        return ""
    if may(identity.role, action, own=True):
        return f"{owner} submitted it; that takes the role operator"
    return f"that takes the role {needed_role(action)}; you are a {identity.role}"


def of_submission(verb: Verb, identity: Identity, detail: SubmissionDetail) -> str:
    """Why this cannot be done to a submission; empty where it can."""
    return why_not(verb, identity, detail.summary.user) or _of_whole(verb, detail)


def of_trial(
    verb: Verb, identity: Identity, detail: TrialDetail, submission: SubmissionSummary
) -> str:
    """Why this cannot be done to a trial; empty where it can."""
    return why_not(verb, identity, submission.user) or _of_one(verb, detail.summary, submission)


def _of_whole(verb: Verb, detail: SubmissionDetail) -> str:
    summary, driven = detail.summary, _is_driven(detail.summary)
    # What is paused goes on only by itself.
    found = {trial.state for trial in detail.trials if not trial.paused}
    match verb:
        case "stop" | "pause":
            return "" if driven or summary.queued else "nobody runs it"
        case "resume":
            if driven:
                lost = "; what is lost of it is resumed on its own page" if "lost" in found else ""
                return f"it runs{lost}"
            if found & _GOES_ON or len(detail.trials) < summary.num_trials:
                return _QUEUED.get(summary.queued, "")
            paused = any(trial.state in _GOES_ON for trial in detail.trials)
            return "what is left of it is paused: open that" if paused else _NOTHING_LEFT
        case "retry failed":
            if not found & _FAILED:
                return "nothing of it has failed"
            if driven:
                return "it runs; retry when it has ended"
            return _QUEUED.get(summary.queued, "")
        case "extend":
            if not any(trial.state == "finished" for trial in detail.trials):
                return "it has not finished"
            without = sum(not trial.has_checkpoint for trial in detail.trials)
            return f"{without} of its trials have no checkpoint to go on from" if without else ""
        case "fork":
            return "a fork begins at one of its trials: open one"


def _of_one(verb: Verb, trial: TrialSummary, submission: SubmissionSummary) -> str:
    driven, state = _is_driven(submission), trial.state
    match verb:
        case "stop" | "pause":
            if not driven:
                return "nobody runs it"
            return "" if state in {*UNDER_WAY, "lost"} else f"it is {state}"
        case "resume":
            if state in ("running", "probing") and not trial.paused:
                return "it runs"
            if state not in {*_GOES_ON, *UNDER_WAY}:
                return _NOTHING_LEFT
            if not driven:
                return _QUEUED.get(submission.queued, "")
            waits = state == "pending" and not trial.paused
            return "it waits for its turn" if waits else ""
        case "retry failed":
            if state not in _FAILED:
                return "it has not failed"
            return "" if driven else _QUEUED.get(submission.queued, "")
        case "fork":
            return "" if trial.has_checkpoint else "it has no checkpoint to begin at yet"
        case "extend":
            if state != "finished":
                return "it has not finished"
            return "" if trial.has_checkpoint else "it has no checkpoint to go on from"


def _is_driven(submission: SubmissionSummary) -> bool:
    """Whether it is run, or may be: a driver elsewhere has to be watched for a while first."""
    return submission.driver_alive is not False
