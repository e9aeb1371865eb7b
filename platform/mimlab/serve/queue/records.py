"""What the queue's files hold.

<storage>/queue/000000001.json          QueueEntry
<storage>/queue-code/<submission id>.zip   what is unpacked where it runs, if anything
<storage>/queue-claims/000000001.json   Claim, created exclusively: started or withdrawn, not both
<storage>/queue-lease/000001.json       LeaseRecord of the dashboard that starts what waits
<storage>/quotas.json                   Quotas
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mimlab.storage.records import Record

EntryState = Literal["waiting", "started", "ended", "withdrawn"]
FINAL: frozenset[EntryState] = frozenset({"ended", "withdrawn"})


class Share(Record):
    """GPUs and CPUs; CPUs count where a study trains without GPUs."""

    gpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """null: no limit."""
    cpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """null: no limit."""


class Quotas(Record):
    """What users may hold at once."""

    users: dict[str, Share] = Field(default_factory=dict)
    """By name."""
    default: Share = Share()
    """Of everybody else."""
    total: Share = Share()
    """Of all users together: what the cluster has."""

    def of(self, user: str) -> Share:
        return self.users.get(user, self.default)


class Need(Record):
    """What a submission holds at most while it runs."""

    gpus: float = Field(ge=0, allow_inf_nan=False)
    cpus: float = Field(ge=0, allow_inf_nan=False)
    """0 where it trains on GPUs."""

    def fits(self, share: Share, beside: Need) -> bool:
        """Whether there is room in a share for this beside what it is used for already."""
        return _fits(self.gpus + beside.gpus, share.gpus) and _fits(
            self.cpus + beside.cpus, share.cpus
        )

    def __add__(self, other: Need) -> Need:
        return Need(gpus=self.gpus + other.gpus, cpus=self.cpus + other.cpus)


NOTHING = Need(gpus=0, cpus=0)


class QueueEntry(Record):
    """A submission that is to run, or ran, for a user."""

    number: int
    """1, 2, 3, … in the order of arrival."""
    submission: str
    user: str
    words: list[str]
    """What follows `mimlab` on the command line that runs it."""
    has_code: bool
    """Whether something is unpacked where it runs."""
    need: Need
    priority: int = 0
    """Higher goes first; an operator sets it."""
    state: EntryState = "waiting"
    queued: str
    """ISO 8601, UTC."""
    problem: str = ""
    """Why it could not be started the last time."""


class Claim(Record):
    """What became of an entry that waited."""

    state: Literal["started", "withdrawn"]


def _fits(need: float, limit: float | None) -> bool:
    # Shares of a GPU such as 0.1 add up to a little more than they should.
    return limit is None or need <= limit + 1e-9
