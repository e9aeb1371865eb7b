"""The loop that starts what waits: of several dashboards of one storage, one does it at a time."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mimlab.actions.launch import Launcher
from mimlab.errors import in_a_line
from mimlab.repeated import repeated
from mimlab.serve.queue.driving import ACTIVE, Driving
from mimlab.serve.queue.folder import Queue
from mimlab.serve.queue.order import next_entry
from mimlab.serve.queue.records import QueueEntry
from mimlab.storage import lease
from mimlab.storage.asked import asked_of_whole
from mimlab.storage.exclusive import Exclusive
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import LeaseRecord

LEASE = "queue-lease"
_log = logging.getLogger(__name__)


@dataclass
class Admission:
    """Starts what the quotas have room for, and notices what has ended."""

    queue: Queue
    launcher: Launcher
    driving: Driving = field(init=False)
    _held: LeaseRecord | None = None
    _problem: str = ""

    def __post_init__(self) -> None:
        self.driving = Driving(self.queue.store)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Meanwhile, look at the queue every two seconds, and let another dashboard in at the
        end."""
        with repeated(self._look, every_s=lease.RENEW_S, name="queue"):
            yield
        self.release()

    def round(self) -> list[QueueEntry]:
        """One look at the queue; the entries that were started. Nothing without the lease."""
        if not self._holds():
            return []
        self._note_ended()
        started: list[QueueEntry] = []
        failed: set[int] = set()
        while self._holds():
            self._withdraw_stopped()
            entries = [e for e in self.queue.entries() if e.number not in failed]
            entry = next_entry(entries, self.queue.quotas())
            if entry is None:
                break
            if self._start(entry):
                started.append(entry)
            else:
                failed.add(entry.number)
        return started

    def release(self) -> None:
        """Let the next dashboard in without waiting."""
        if self._held is not None:
            self._lease.write(self._held.model_copy(update={"released": True}))
            self._held = None

    @property
    def _lease(self) -> Exclusive:
        return Exclusive(self.queue.store, LEASE)

    def _look(self) -> bool:
        try:
            self.round()
            self._tell("")
        except Exception as error:  # whatever it is: without this loop nothing starts any more
            self._tell(in_a_line(error))
        return False

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.warning("the queue stands still, and is looked at again: %s", problem)
        elif self._problem and not problem:
            _log.warning("the queue goes on")
        self._problem = problem

    def _holds(self) -> bool:
        """Whether this is the dashboard that starts things; takes or renews the lease."""
        found = self._lease.current()
        if self._held is None:
            if found is None or not self._lease.alive(found, lease.EXPIRE_S):
                self._held = self._lease.take(found)
        elif found is None or found.fence != self._held.fence:
            self._held = None
        else:
            self._held = self._held.model_copy(update={"counter": self._held.counter + 1})
            self._lease.write(self._held)
        return self._held is not None

    def _note_ended(self) -> None:
        for entry in self.queue.entries():
            started = entry.state == "started"
            if started and not self.driving.runs(entry.submission, self.launcher.state):
                self.queue.change(entry.number, state="ended")

    def _withdraw_stopped(self) -> None:
        """What was stopped or paused since it was queued, on whatever machine, is not started."""
        for entry in self.queue.entries():
            if entry.state != "waiting" or self.queue.is_claimed(entry):
                continue
            if asked_of_whole(SubmissionFolder(self.queue.store, entry.submission)) is not None:
                self.queue.withdraw(entry.number)

    def _start(self, entry: QueueEntry) -> bool:
        """Start an entry, unless a dashboard that died has done it; whether it runs now."""
        begun, claimed = self.queue.is_claimed(entry), False
        try:
            runs = self.launcher.state(entry.submission) in ACTIVE
            if runs and not begun:
                return False  # the driver that it had before has yet to end
            claimed = self.queue.claim(entry)
            if not claimed:
                return False
            self.driving.forget(entry.submission)
            if not runs:
                self._launch(entry)
        except Exception as error:  # of this entry alone: the others start
            self.queue.change(entry.number, problem=in_a_line(error))
            if claimed:
                self.queue.unclaim(entry)
            return False
        self.queue.change(entry.number, state="started", problem="")
        return True

    def _launch(self, entry: QueueEntry) -> None:
        code = self.queue.code(entry)
        if code is None:
            self.launcher.start(entry.submission, entry.words, None)
            return
        with tempfile.TemporaryDirectory(prefix="mimlab-queue-") as folder:
            file = Path(folder, "code.zip")
            file.write_bytes(code)
            self.launcher.start(entry.submission, entry.words, file)
