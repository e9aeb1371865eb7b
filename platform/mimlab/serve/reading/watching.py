"""Whether a counter moves: how a watcher tells a living process from a dead one, without a clock
that two machines would have to share."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from mimlab.storage.lease import DRIVEN, EXPIRE_S
from mimlab.storage.machine import machine, process_born
from mimlab.storage.records import LeaseRecord, StatusRecord, TrialState

STALE_S = 45.0
"""A trial's heartbeat that stands still for so long is nobody's. It moves every second while
workers train; to start them again after a node died takes half a minute."""

BEATING: frozenset[TrialState] = frozenset({"running"})
"""States in which the heartbeat moves."""


@dataclass(frozen=True)
class Seen:
    """What a watcher knows of a counter."""

    moved: bool
    """Whether it was seen to move at all."""
    still_s: float
    """Since it last moved, or since it was first looked at."""


class Watch:
    """Remembers when counters last moved, by this process's own monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[Hashable, tuple[Hashable, float, bool]] = {}

    def look(self, what: Hashable, counter: Hashable) -> Seen:
        """Take notice of a counter as it is now."""
        now = self._clock()
        known = self._last.get(what)
        if known is None:
            self._last[what] = (counter, now, False)
            return Seen(False, 0.0)
        value, since, moved = known
        if value != counter:
            self._last[what] = (counter, now, True)
            return Seen(True, 0.0)
        return Seen(moved, now - since)


def driver_lives(lease: LeaseRecord | None, submission_id: str, watch: Watch) -> bool | None:
    """Whether the holder of a lease lives; None: not known yet.

    On this machine its process tells; from another one its counter does, which has to be watched
    for `EXPIRE_S` before its silence means anything.
    """
    if lease is None or lease.released:
        return False
    if lease.machine == machine():
        return process_born(lease.pid) == lease.process_born
    seen = watch.look(("lease", submission_id), (lease.fence, lease.counter))
    if seen.still_s >= EXPIRE_S:
        return False
    return True if seen.moved else None


def is_lost(
    trial_id: str, status: StatusRecord, driven: Callable[[], bool | None], watch: Watch
) -> bool:
    """Whether a trial is recorded as running while nobody runs it.

    `driven`: whether the driver of the submission that owns it lives; asked only where it matters.
    """
    if status.state not in DRIVEN:
        return False
    seen = watch.look(("trial", trial_id), (status.fence, status.heartbeat))
    if status.state in BEATING and seen.still_s >= STALE_S:
        return True
    return driven() is False
