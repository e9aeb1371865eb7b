"""Which of the waiting submissions is next: a pure function of the queue and the quotas.

Of each user, the first in line alone is looked at, so that a large submission is not overtaken for
ever by its user's small ones. Of those that their users' quotas have room for, the highest priority
is next, then the user who holds least, then the oldest; if the cluster has no room for it yet,
nobody overtakes it either. A submission that could never run blocks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mimlab.serve.queue.records import NOTHING, Need, QueueEntry, Quotas


def next_entry(entries: Sequence[QueueEntry], quotas: Quotas) -> QueueEntry | None:
    """The entry to start now; None if none has room."""
    everyone = _sum(entry.need for entry in entries if entry.state == "started")
    candidates = [
        entry
        for entry in _first_in_line(entries, quotas)
        if entry.need.fits(quotas.of(entry.user), in_use(entries, entry.user))
    ]
    if not candidates:
        return None
    first = min(candidates, key=lambda entry: _rank(entry, in_use(entries, entry.user)))
    return first if first.need.fits(quotas.total, everyone) else None


def places(entries: Sequence[QueueEntry], quotas: Quotas) -> dict[int, int]:
    """In which order those that wait would start, from 1, if each began as soon as the one before
    it; by their numbers. What can never run has no place."""
    left, found = list(entries), dict[int, int]()
    while candidates := _first_in_line(left, quotas):
        nearest = min(candidates, key=lambda entry: _rank(entry, in_use(left, entry.user)))
        found[nearest.number] = len(found) + 1
        left[left.index(nearest)] = nearest.model_copy(update={"state": "started"})
    return found


def in_use(entries: Iterable[QueueEntry], user: str) -> Need:
    """What a user's running submissions hold."""
    own = (e.need for e in entries if e.user == user and e.state == "started")
    return _sum(own)


def never_fits(need: Need, user: str, quotas: Quotas) -> str:
    """Why a submission could not run even alone, in words; empty if it could."""
    for share, whose in ((quotas.of(user), f"{user}'s quota"), (quotas.total, "the cluster")):
        for unit, asked, limit in (
            ("GPUs", need.gpus, share.gpus),
            ("CPUs", need.cpus, share.cpus),
        ):
            if limit is not None and not need.fits(share, NOTHING) and asked > limit:
                return (
                    f"it would hold {asked:g} {unit} at once, and {whose} is {limit:g}; set "
                    "resources.concurrent_trials, or resources.workers, to less"
                )
    return ""


def _first_in_line(entries: Iterable[QueueEntry], quotas: Quotas) -> list[QueueEntry]:
    """Of each user, the waiting entry that goes first, of those that can run at all."""
    first: dict[str, QueueEntry] = {}
    for entry in sorted(entries, key=lambda entry: (-entry.priority, entry.number)):
        if entry.state == "waiting" and not never_fits(entry.need, entry.user, quotas):
            first.setdefault(entry.user, entry)
    return list(first.values())


def _rank(entry: QueueEntry, held: Need) -> tuple[int, float, float, int]:
    return -entry.priority, held.gpus, held.cpus, entry.number


def _sum(needs: Iterable[Need]) -> Need:
    return sum(needs, NOTHING)
