"""Whether submissions that were started still run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mimlab.storage import lease
from mimlab.storage.exclusive import lives_here
from mimlab.storage.records import LeaseRecord
from mimlab.storage.store import Store

STARTING_S = 300.0
"""For how long a submission may have no driver yet: a cluster may have to grow first."""
ACTIVE = frozenset({"pending", "running"})
ENDED = frozenset({"ended", "failed"})
"""What launchers call a driver that may still do something, and one that will not."""


@dataclass(frozen=True)
class _Seen:
    fence: int
    counter: int
    moved: bool
    """Whether the lease was seen to move, so that its driver is the one that was started."""
    until: float
    """When a driver that shows no further sign of life counts as dead."""


@dataclass
class Driving:
    """Watches the leases of drivers; never waits, for it looks again and again."""

    store: Store
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def runs(self, submission: str, state: Callable[[str], str | None]) -> bool:
        """Whether a submission is being run; `state`: asks its launcher, where its lease is silent.

        One that was first asked about just now may still be starting.
        """
        held = lease.current(self.store, submission)
        if held is not None and lives_here(held):
            return True
        seen = self._seen[submission] = self._look(submission, held)
        if seen.moved and self.clock() < seen.until:
            return True
        said = state(submission)
        if said in ACTIVE or said in ENDED:
            return said in ACTIVE
        return self.clock() < seen.until

    def forget(self, submission: str) -> None:
        """It is started anew."""
        self._seen.pop(submission, None)

    def _look(self, submission: str, held: LeaseRecord | None) -> _Seen:
        fence, counter = (held.fence, held.counter) if held else (0, 0)
        seen = self._seen.get(submission)
        if seen is None:
            # A lease that is there already may be that of an earlier, dead driver.
            return _Seen(fence, counter, False, self.clock() + STARTING_S)
        ended = held is not None and held.released
        if (seen.fence, seen.counter) == (fence, counter) and not (ended and seen.moved):
            return seen
        lasts_s = 0.0 if ended else lease.EXPIRE_S
        return _Seen(fence, counter, True, self.clock() + lasts_s)
