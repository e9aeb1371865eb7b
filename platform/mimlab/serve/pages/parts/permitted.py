"""What may be done to a trial or a submission now, and if not, why not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from mimlab.serve.identity.permissions import Action, may, needed_role
from mimlab.serve.reading.models import SubmissionSummary, TrialDetail
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
_GOES_ON = ("pending", "stopped", "preempted", "lost")
_FAILED = ("failed", "diverged")


def why_not(verb: Verb, identity: Identity, owner: str) -> str:
    """What keeps the role from it; empty where nothing does."""
    action = _NEEDS[verb]
    if may(identity.role, action, own=owner == identity.name):
        return ""
    if may(identity.role, action, own=True):
        return f"{owner} submitted it; that takes the role operator"
    return f"that takes the role {needed_role(action)}; you are a {identity.role}"


def of_submission(verb: Verb, identity: Identity, summary: SubmissionSummary) -> str:
    """Why this cannot be done to a submission; empty where it can."""
    return why_not(verb, identity, summary.user) or _by_state(
        verb, summary.trials, driven=summary.driver_alive is not False
    )


def of_trial(
    verb: Verb, identity: Identity, detail: TrialDetail, submission: SubmissionSummary
) -> str:
    """Why this cannot be done to a trial; empty where it can."""
    refused = why_not(verb, identity, submission.user)
    if refused:
        return refused
    if verb == "fork":
        return "" if detail.checkpoints else "it has no checkpoint to begin at yet"
    driven = submission.driver_alive is not False
    if verb in ("stop", "pause") and driven and detail.summary.state not in {*UNDER_WAY, "lost"}:
        return f"it is {detail.summary.state}"
    if verb in ("resume", "retry failed"):
        driven = False  # a living driver takes back what was stopped or paused
    if verb == "resume" and detail.summary.state in ("running", "probing"):
        return "it runs"
    return _by_state(verb, [detail.summary.state], driven=driven)


def _by_state(verb: Verb, states: Collection[str], *, driven: bool) -> str:
    found = set(states)
    match verb:
        case "stop" | "pause":
            return "" if driven else "nobody runs it"
        case "resume":
            if driven:
                lost = "; what is lost of it is resumed on its own page" if "lost" in found else ""
                return f"it runs{lost}"
            return "" if found & set(_GOES_ON) else "nothing of it is left to do"
        case "retry failed":
            if not found & set(_FAILED):
                return "nothing of it has failed"
            return "it runs; retry when it has ended" if driven else ""
        case "extend":
            return "" if found & {"finished"} else "it has not finished"
        case "fork":
            return "a fork begins at one of its trials: open one"
