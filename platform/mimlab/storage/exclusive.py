"""A folder of leases: each holder creates the next number exclusively, and the highest one holds.

A holder renews by advancing a counter; whoever waits judges by whether the counter moves, not by
anybody's clock.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from mimlab.storage.machine import machine, process_born
from mimlab.storage.records import LeaseRecord
from mimlab.storage.store import Store


@dataclass(frozen=True)
class Exclusive:
    """What one process at a time may hold."""

    store: Store
    folder: str
    """Of the leases, e.g. `submissions/<id>/lease`."""

    def current(self) -> LeaseRecord | None:
        """The lease with the highest number."""
        names = self.store.list(self.folder)
        return self.store.read_record(f"{self.folder}/{names[-1]}", LeaseRecord) if names else None

    def take(self, after: LeaseRecord | None) -> LeaseRecord | None:
        """The lease that follows `after`, made this process's; None if another was faster."""
        record = LeaseRecord(
            fence=(after.fence if after else 0) + 1,
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=machine(),
            process_born=process_born(os.getpid()) or 0,
            counter=0,
        )
        return record if self.store.create(self._path(record), record.to_bytes()) else None

    def write(self, record: LeaseRecord) -> None:
        """Renewed or released."""
        self.store.write_record(self._path(record), record)

    def alive(self, held: LeaseRecord, expire_s: float) -> bool:
        """Whether the holder lives: at once if it runs here, else by waiting for its counter."""
        here = lives_here(held)
        if here is not None:
            return here
        deadline = time.monotonic() + expire_s
        while time.monotonic() < deadline:
            time.sleep(min(0.5, expire_s))
            seen = self.current()
            if seen is not None and (seen.fence, seen.counter) != (held.fence, held.counter):
                return not seen.released
        return False

    def _path(self, record: LeaseRecord) -> str:
        return f"{self.folder}/{record.fence:06d}.json"


def lives_here(held: LeaseRecord) -> bool | None:
    """Whether a holder lives, where that can be said at once; None: only its counter tells."""
    if held.released:
        return False
    if held.machine == machine():
        return process_born(held.pid) == held.process_born
    return None
