"""Starts a driver again for as long as it dies with work left, and gets somewhere between."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mimlab.errors import UserError
from mimlab.exits import CRASHED, DONE, FAILED, INTERRUPTED, REFUSED, UNAVAILABLE
from mimlab.search import supervision
from mimlab.search.head import is_up
from mimlab.storage import lease
from mimlab.storage.asked import asked_of_whole
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import DONE as DONE_STATES

POLL_S = 0.2
HEAD_POLL_S = 2.0

STOPS = {signal.SIGINT: FAILED, signal.SIGTERM: INTERRUPTED, signal.SIGHUP: INTERRUPTED}
"""What asks a supervisor to end, and its exit code where the driver leaves none."""
VERDICTS = (DONE, FAILED, REFUSED, INTERRUPTED)


@dataclass(frozen=True)
class Patience:
    """How a supervisor waits."""

    first_wait_s: float = 1.0
    """Before a driver is started again; doubled by each death without progress."""
    longest_wait_s: float = 60.0
    fruitless_deaths: int = 8
    """In a row, after which it gives up."""
    grace_s: float = 120.0
    """For a driver that was asked to stop; then it is killed."""


Mark = list[tuple[str, str, int, str, int]]


class Supervisor:
    """One driver at a time, each a child process."""

    def __init__(
        self,
        command: Callable[[SubmissionFolder | None], list[str]],
        say: Callable[[str], None],
        *,
        head: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`command`: what starts a driver, given the submission that an earlier one told of;
        `say`: tells the user a line; `head`: `host:port` of the cluster that drivers join."""
        self._command = command
        self._say = say
        self._head = head
        self._patience = patience or Patience()
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: signal.Signals | None = None

    def run(self) -> int:
        """Supervise to the end; the exit code. In the main thread: it handles signals."""
        before = {number: signal.getsignal(number) for number in STOPS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                signal.signal(number, self._stop)
        try:
            return self._supervise()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _supervise(self) -> int:
        submission, seen, deaths, starts = None, None, 0, 0
        while True:
            code, found = self._drive(submission)
            starts += 1
            submission = found or submission
            if self._asked is not None:
                return code if code in VERDICTS else STOPS[self._asked]
            if code in (DONE, REFUSED) or (code == FAILED and _ended_itself(submission)):
                return code
            if words := _stopped(submission):
                self._say(words)
                return FAILED
            wait_s = self._patience.longest_wait_s
            mark = _mark(submission)
            is_away = submission is not None and mark is None
            if code != UNAVAILABLE and not is_away:  # for which nobody's patience is too long
                deaths = deaths + 1 if mark is None or mark == seen else 0
                seen = mark or seen
                if deaths >= self._patience.fruitless_deaths:
                    self._say(_gave_up(deaths, code, submission))
                    return FAILED
                wait_s = min(self._patience.first_wait_s * 2**deaths, wait_s)
            self._say(f"the driver {_death(code)}; start {starts + 1} in {wait_s:g} s")
            self._pause(wait_s)
            self._await_head(submission)
            if self._asked is not None:
                return STOPS[self._asked]
            if words := _stopped(submission):
                self._say(words)
                return FAILED

    def _drive(self, submission: SubmissionFolder | None) -> tuple[int, SubmissionFolder | None]:
        """Run one driver to its end: its exit code, negative for a signal, and what it told."""
        mine, childs = os.pipe()
        os.set_blocking(mine, False)
        try:
            self._child = subprocess.Popen(
                self._command(submission),
                env=os.environ | supervision.of_driver(childs),
                pass_fds=[childs],
                # Ctrl-C comes to the driver once, from here, not from the terminal besides.
                process_group=0,
                preexec_fn=supervision.end_with_supervisor,
            )
            if self._asked is not None:  # while it was being started
                self._pass_on(self._asked)
            code = self._child.wait()
            return code, supervision.told(mine)
        finally:
            self._child = None
            os.close(mine)
            os.close(childs)

    def _stop(self, number: int, _frame: object) -> None:
        self._asked = signal.Signals(number)
        self._pass_on(self._asked)

    def _pass_on(self, number: signal.Signals) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
        killer = threading.Timer(self._patience.grace_s, child.kill)
        killer.daemon = True
        killer.start()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._asked is None and time.monotonic() < until:
            time.sleep(min(POLL_S, seconds))

    def _await_head(self, submission: SubmissionFolder | None) -> None:
        if self._head is None or self._asked is not None or is_up(self._head):
            return
        self._say(f"waiting for a Ray head at {self._head}")
        while self._asked is None and not is_up(self._head) and not _stopped(submission):
            self._pause(HEAD_POLL_S)


def _ended_itself(submission: SubmissionFolder | None) -> bool:
    """Whether the driver came to its own end: Ray, too, ends a process with exit code 1."""
    if submission is None:
        return True
    try:
        held = lease.current(submission.store, submission.id)
    except (OSError, UserError):
        return False
    return held is None or held.released


def _stopped(submission: SubmissionFolder | None) -> str:
    """That a user had it stopped while no driver was there to see it, in words; else empty."""
    if submission is None:
        return ""
    try:
        asked = asked_of_whole(submission)
    except (OSError, UserError):
        return ""
    return "" if asked is None else f"{asked.reason}: no driver is started again"


def _mark(submission: SubmissionFolder | None) -> Mark | None:
    """What the trials have come to: it changes with every journal segment, checkpoint and probe.

    None where there is no submission yet, or its storage is away.
    """
    if submission is None:
        return None
    try:
        return [_trial_mark(trial) for trial in submission.trials()]
    except (OSError, UserError):
        return None


def _trial_mark(trial: TrialFolder) -> tuple[str, str, int, str, int]:
    state = trial.status().state
    segments = trial.store.list(trial.file("journal"))
    return (
        trial.id,
        state if state in DONE_STATES else "",
        max(trial.steps("checkpoints"), default=0),
        segments[-1] if segments else "",
        len(trial.store.list(trial.file("probes"))),
    )


def _death(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    if code == INTERRUPTED:
        return "was interrupted"
    if code == UNAVAILABLE:
        return "lacked nodes or storage"
    return "crashed" if code == CRASHED else f"died with exit code {code}"


def _gave_up(deaths: int, code: int, submission: SubmissionFolder | None) -> str:
    words = f"gave up: the driver {_death(code)}, the last of {deaths} deaths in a row without"
    words += " a journal point or a checkpoint between them"
    if submission is None:
        return words
    place = submission.store.place(submission.path)
    return f"{words}; what is there is in {place}, and the same command goes on with it"
