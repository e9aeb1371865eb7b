"""Ctrl-C and SIGTERM to a driver."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Literal

from rich.console import Console

from mimlab.exits import FAILED, INTERRUPTED
from mimlab.storage.lease import LeaseLost

ECHO_S = 1.0
"""A notice that comes twice within this is one: a cluster tells every process of a job, and a
supervisor passes on what it was told."""

Stop = Callable[[Literal["stopped", "preempted"], str], None]


class Interrupts:
    """The first asks the trials to save and end, the second ends at once."""

    def __init__(self, console: Console, stop: Stop) -> None:
        """`stop(state, reason)`: may take a while, and is called in another thread."""
        self.asked: signal.Signals | None = None
        """The first signal."""
        self._console = console
        self._stop = stop
        self._echo_until = 0.0
        self._before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            signal.signal(number, self._handle)

    @property
    def exit_code(self) -> int:
        """Of a run that was stopped so; a machine that is taken away is no user's wish."""
        return INTERRUPTED if self.asked == signal.SIGTERM else FAILED

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        if self.asked is not None:
            if time.monotonic() >= self._echo_until:
                self._console.print("ending at once; the last checkpoints are kept")
                os._exit(self.exit_code)
            return
        self.asked = signal.Signals(number)
        self._echo_until = time.monotonic() + ECHO_S
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        self._console.print(f"{name}: saving checkpoints (again to end at once)")
        state = "stopped" if number == signal.SIGINT else "preempted"
        threading.Thread(target=self._ask, args=(state, name), daemon=True).start()

    def _ask(self, state: Literal["stopped", "preempted"], name: str) -> None:
        try:
            self._stop(state, name)
        except (LeaseLost, OSError) as error:
            self._console.print(f"the trials could not be asked to save: {error}")
