"""Which role may do what: the one table that routes, documentation and tests read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Role = Literal["viewer", "submitter", "operator"]
"""Each may do what the one before it may."""

Reach = Literal["no", "own", "all"]
"""Nobody's runs, those that one submitted oneself, or everyone's."""

Action = Literal[
    "read",
    "check",
    "submit",
    "stop",
    "pause",
    "resume",
    "fork",
    "extend",
    "withdraw",
    "prioritise",
    "set quotas",
    "read the audit log",
    "list users",
]

_OWN_RUNS: Mapping[Role, Reach] = {"viewer": "no", "submitter": "own", "operator": "all"}
_OPERATOR: Mapping[Role, Reach] = {"viewer": "no", "submitter": "no", "operator": "all"}

PERMISSIONS: Mapping[Action, Mapping[Role, Reach]] = {
    "read": {"viewer": "all", "submitter": "all", "operator": "all"},
    "check": {"viewer": "no", "submitter": "all", "operator": "all"},
    "submit": {"viewer": "no", "submitter": "all", "operator": "all"},
    "stop": _OWN_RUNS,
    "pause": _OWN_RUNS,
    "resume": _OWN_RUNS,
    "fork": _OWN_RUNS,
    "extend": _OWN_RUNS,
    "withdraw": _OWN_RUNS,
    "prioritise": _OPERATOR,
    "set quotas": _OPERATOR,
    "read the audit log": _OPERATOR,
    "list users": _OPERATOR,
}
"""`check` validates a pasted study and measures its bill; `withdraw` takes one out of the queue."""

ROLES: tuple[Role, ...] = get_args(Role)


def reach(role: Role, action: Action) -> Reach:
    """Whose runs a role may do this to."""
    return PERMISSIONS[action][role]


def may(role: Role, action: Action, *, own: bool = False) -> bool:
    """Whether a role may do this; `own`: to a run of one's own."""
    allowed = reach(role, action)
    return allowed == "all" or (allowed == "own" and own)


def needed_role(action: Action) -> Role:
    """The least role that may do this at all."""
    return next(role for role in ROLES if reach(role, action) != "no")


def table() -> str:
    """The permissions as a Markdown table."""
    lines = ["| action | " + " | ".join(ROLES) + " |", "| --- " * (len(ROLES) + 1) + "|"]
    for action, reaches in PERMISSIONS.items():
        lines.append(f"| {action} | " + " | ".join(reaches[role] for role in ROLES) + " |")
    return "\n".join(lines)
