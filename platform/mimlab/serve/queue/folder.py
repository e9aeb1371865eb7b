"""The queue in the storage."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from mimlab.errors import UserError
from mimlab.serve.queue.order import never_fits
from mimlab.serve.queue.records import FINAL, Claim, EntryState, Need, QueueEntry, Quotas
from mimlab.storage.folders import now
from mimlab.storage.store import Store

FOLDER, CLAIMS, CODE, QUOTAS = "queue", "queue-claims", "queue-code", "quotas.json"


@dataclass
class Queue:
    """Entries and quotas, whichever process they are changed from."""

    store: Store
    _final: dict[str, QueueEntry] = field(default_factory=dict)
    """Entries that change no more, by file name: read once."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _adding: threading.Lock = field(default_factory=threading.Lock)

    def entries(self) -> list[QueueEntry]:
        """All, oldest first."""
        return [self._read(name) for name in self.store.list(FOLDER)]

    def entry(self, number: int) -> QueueEntry:
        """Raises UserError if there is none of that number."""
        if _name(number) not in self.store.list(FOLDER):
            raise UserError(f"the queue has no number {number}")
        return self._read(_name(number))

    def quotas(self) -> Quotas:
        return self.store.read_record(QUOTAS, Quotas) or Quotas()

    def set_quotas(self, quotas: Quotas) -> None:
        self.store.write_record(QUOTAS, quotas)

    def waiting(self, submission: str) -> QueueEntry | None:
        """The entry by which a submission waits; None if it does not."""
        return self._in_state(submission, "waiting")

    def started(self, submission: str) -> QueueEntry | None:
        """The entry by which a submission was started; None from when its end is noticed."""
        return self._in_state(submission, "started")

    def add(
        self, submission: str, *, user: str, need: Need, words: list[str], code: bytes | None
    ) -> QueueEntry:
        """Let a submission wait; `code`: a zip file that is unpacked where it runs.

        Raises UserError if it waits already, or could never run.
        """
        with self._adding:
            names = self.store.list(FOLDER)
            first = int(names[-1].removesuffix(".json")) + 1 if names else 1
            self._refuse_twice(self.waiting(submission))
            if reason := never_fits(need, user, self.quotas()):
                raise UserError(f"{submission}: {reason}")
            if code is not None:  # first, for what waits may be started at once
                self.store.write(_code(submission), code)
            entry = QueueEntry(
                number=first,
                submission=submission,
                user=user,
                words=words,
                has_code=code is not None,
                need=need,
                queued=now(),
            )
            while not self.store.create(_path(entry.number), entry.to_bytes()):
                # Another process was faster.
                entry = entry.model_copy(update={"number": entry.number + 1})
            if (faster := self._since(first, entry)) is not None:
                self.withdraw(entry.number)
                self._refuse_twice(faster)
            return entry

    def code(self, entry: QueueEntry) -> bytes | None:
        """The zip file that is unpacked where an entry runs."""
        return self.store.read(_code(entry.submission)) if entry.has_code else None

    def claim(self, entry: QueueEntry) -> bool:
        """Whether a waiting entry may be started: from now on it cannot be withdrawn."""
        path = _claim(entry.number)
        if self.store.create(path, Claim(state="started").to_bytes()):
            return True
        claim = self.store.read_record(path, Claim)
        if claim is not None and claim.state == "withdrawn":
            self.change(entry.number, state="withdrawn")
            return False
        return True  # claimed by a process that died before it had started it

    def is_claimed(self, entry: QueueEntry) -> bool:
        """Whether somebody has begun to start or to withdraw a waiting entry."""
        return self.store.exists(_claim(entry.number))

    def unclaim(self, entry: QueueEntry) -> None:
        """It could not be started: it waits as before."""
        self.store.remove(_claim(entry.number))

    def withdraw(self, number: int) -> None:
        """Take an entry out of the queue. Raises UserError if it waits no longer."""
        entry = self.entry(number)
        claim = Claim(state="withdrawn").to_bytes()
        if entry.state != "waiting" or not self.store.create(_claim(number), claim):
            raise UserError(
                f"number {number} of the queue, {entry.submission}, waits no longer; stop it"
            )
        self.change(number, state="withdrawn")

    def change(self, number: int, **update: object) -> None:
        """Write an entry anew with some of its fields changed."""
        with self._lock:
            entry = self.entry(number)
            self.store.write_record(_path(number), entry.model_copy(update=update))

    def _since(self, first: int, entry: QueueEntry) -> QueueEntry | None:
        """By which another process let the same submission wait, of the numbers from `first` to
        the entry's."""
        names = (_name(number) for number in range(first, entry.number))
        same = (e for e in map(self._read, names) if e.submission == entry.submission)
        return next((each for each in same if each.state not in FINAL), None)

    def _refuse_twice(self, there: QueueEntry | None) -> None:
        if there is not None:
            raise UserError(
                f"{there.submission} waits in the queue already, as number {there.number}"
            )

    def _in_state(self, submission: str, state: EntryState) -> QueueEntry | None:
        entries = (e for e in self.entries() if e.submission == submission)
        return next((entry for entry in entries if entry.state == state), None)

    def _read(self, name: str) -> QueueEntry:
        if name in self._final:
            return self._final[name]
        entry = self.store.read_record(f"{FOLDER}/{name}", QueueEntry)
        if entry is None:
            raise UserError(f"{self.store.place(FOLDER)}: {name} has been removed just now")
        if entry.state in FINAL:
            self._final[name] = entry
        return entry


def _name(number: int) -> str:
    return f"{number:09d}.json"


def _path(number: int) -> str:
    return f"{FOLDER}/{_name(number)}"


def _code(submission: str) -> str:
    return f"{CODE}/{submission}.zip"


def _claim(number: int) -> str:
    return f"{CLAIMS}/{_name(number)}"
