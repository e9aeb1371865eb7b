"""One policy for storage that is away or full: try again, more and more seldom, up to a limit."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from mimlab.storage.files import Files, FileSize, T
from mimlab.storage.filesystems import RemoteError

WAIT_S = 20 * 60.0
"""How long a study's processes wait unless it says otherwise. With several workers the others wait
30 minutes for one of them: the default timeout of Ray Train's process group."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PASSING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EREMOTEIO,
        errno.ETIMEDOUT,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
    }
)
"""Errors of a network file system that is away for a while. A file that is missing, or may not be
written, is not among them: waiting would not help."""


class OutOfPatience(OSError):
    """Storage that was still away or full when the limit was reached."""


@dataclass(frozen=True)
class Trouble:
    """What is waited for."""

    kind: Literal["full", "away"]
    reason: str
    """In a sentence, with a remedy."""


def trouble_of(error: OSError, where: str) -> Trouble | None:
    """What is wrong with the storage `where`; None for an error that waiting does not help."""
    if error.errno in FULL:
        remedy = "make room (`mimlab gc` shows what may go); it goes on by itself"
        return Trouble("full", f"{where}: the disk is full; {remedy}")
    if isinstance(error, RemoteError):
        return Trouble("away", str(error)) if error.passing else None
    if error.errno in PASSING or isinstance(error, TimeoutError | ConnectionError):
        return Trouble("away", f"{where}: {error.strerror or error}")
    return None


def _free() -> None:
    """Nobody else can write."""


def _silent(trouble: Trouble | None) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Patience:
    """How long storage is waited for, and who hears of it."""

    where: str
    """The storage, for people."""
    limit_s: float = 0.0
    """0: a failure is raised at once."""
    guard: Callable[[], None] = _free
    """Called before each further try: raises if others may have begun to write meanwhile."""
    tell: Callable[[Trouble | None], None] = _silent
    """Told what is waited for, at each failure; and None once it has passed."""

    def telling(self, tell: Callable[[Trouble | None], None]) -> Patience:
        return replace(self, tell=tell)

    def run(self, action: Callable[[], T]) -> T:
        """What `action` returns, which is called again while the storage is away or full.

        Raises OutOfPatience at the limit, and at once whatever waiting does not help.
        """
        if not self.limit_s:
            return action()
        deadline = time.monotonic() + self.limit_s
        try:
            return action()
        except OSError as error:
            self._wait(error, deadline, FIRST_PAUSE_S)
        found = self._again(action, deadline)
        self.tell(None)
        return found

    def _again(self, action: Callable[[], T], deadline: float) -> T:
        pause_s = FIRST_PAUSE_S
        while True:
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                self.guard()
                return action()
            except OSError as error:
                self._wait(error, deadline, pause_s)

    def _wait(self, error: OSError, deadline: float, pause_s: float) -> None:
        trouble = trouble_of(error, self.where)
        if trouble is None or isinstance(error, OutOfPatience):
            raise error
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            waited = f"waited {self.limit_s / 60:.3g} minutes for it"
            raise OutOfPatience(f"{trouble.reason.split('; ')[0]}; {waited}") from error
        self.tell(trouble)
        time.sleep(min(pause_s, left_s))


class PatientFiles(Files):
    """`Files` every operation of which has patience."""

    def __init__(self, files: Files, patience: Patience) -> None:
        self._files = files
        self._patience = patience

    def read(self, path: str) -> bytes:
        return self._patience.run(lambda: self._files.read(path))

    def write(self, path: str, data: bytes | memoryview) -> None:
        self._patience.run(lambda: self._files.write(path, data))

    def write_by(self, path: str, produce: Callable[[BinaryIO], T]) -> T:
        return self._patience.run(lambda: self._files.write_by(path, produce))

    def create(self, path: str, data: bytes) -> bool:
        tries = 0

        def create() -> bool:
            nonlocal tries
            tries += 1
            created = self._files.create(path, data)
            # An answer may be lost on its way: what is there after a failure may be ours.
            return created or (tries > 1 and self._files.read(path) == data)

        return self._patience.run(create)

    def append(self, path: str, line: str) -> None:
        self._patience.run(lambda: self._files.append(path, line))

    def list(self, folder: str) -> list[str]:
        return self._patience.run(lambda: self._files.list(folder))

    def sizes(self, folder: str) -> dict[str, FileSize]:
        return self._patience.run(lambda: self._files.sizes(folder))

    def exists(self, path: str) -> bool:
        return self._patience.run(lambda: self._files.exists(path))

    def remove(self, path: str) -> None:
        self._patience.run(lambda: self._files.remove(path))
