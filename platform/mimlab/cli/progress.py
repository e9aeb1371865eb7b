"""The live view of a submission: one line a trial, from the trials' status files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from mimlab.cli.bars import PLAIN_S, duration
from mimlab.compare.render import short
from mimlab.compare.trials import latest
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import DONE, StatusRecord

REFRESH_S = 0.5

COLOURS = {"finished": "green", "pruned": "green", "failed": "red", "diverged": "red"}


@dataclass(frozen=True)
class Line:
    """A trial as the view shows it."""

    label: str
    status: StatusRecord
    scores: dict[str, float]

    @property
    def fraction(self) -> float:
        if self.status.state in DONE:
            return 1.0
        return self.status.step / max(1, self.status.total_steps)

    @property
    def waits(self) -> bool:
        """Whether the storage hinders it, for the reason that its status gives."""
        return self.status.state == "running" and bool(self.status.reason)


class ProgressView:
    """Draws the trials until told that they have ended."""

    def __init__(
        self,
        title: str,
        trials: Callable[[], Sequence[tuple[str, TrialFolder]]],
        note: Callable[[], str],
        *,
        expected: int,
    ) -> None:
        """`trials` gives (label, folder) of those that there are by now, of `expected` in all;
        `note` gives a line under the table, empty for none."""
        self._title = title
        self._expected = expected
        self._trials = trials
        self._note = note
        self._started = time.monotonic()
        self._known: list[Line] = []
        self._away = ""
        self._first = self._fraction(self._lines())

    def follow(self, alive: Callable[[], bool], console: Console) -> None:
        """Draw while `alive()`; on a terminal in place, else a line now and then."""
        if console.is_terminal:
            with Live(self._table(), console=console, refresh_per_second=4) as live:
                while alive():
                    time.sleep(REFRESH_S)
                    live.update(self._table())
            return
        said, due = "", 0.0
        while alive():
            line = self._plain()
            if line != said and time.monotonic() >= due:
                console.print(line, highlight=False, soft_wrap=True)
                said, due = line, time.monotonic() + PLAIN_S
            time.sleep(REFRESH_S)

    def _lines(self) -> list[Line]:
        """Of every trial; the last that is known while the storage does not answer."""
        try:
            self._known = [
                Line(label, t.status(), latest(t.probes())) for label, t in self._trials()
            ]
            self._away = ""
        except OSError as error:
            self._away = f"the storage does not answer: {error}"
        return self._known

    def _notes(self) -> str:
        return "; ".join(filter(None, (self._note(), self._away)))

    def _fraction(self, lines: Sequence[Line]) -> float:
        return sum(line.fraction for line in lines) / max(1, len(lines), self._expected)

    def _eta(self, lines: Sequence[Line]) -> str:
        done = self._fraction(lines)
        gained = done - self._first
        if gained <= 0.01:
            return "time left not known yet"
        left_s = (time.monotonic() - self._started) * (1 - done) / gained
        return f"about {duration(left_s)} left"

    def _table(self) -> RenderableType:
        lines = self._lines()
        elapsed = duration(time.monotonic() - self._started)
        note = self._notes()
        table = Table(
            title=f"{self._title} · {elapsed} elapsed · {self._eta(lines)}",
            caption=note or None,
            title_justify="left",
        )
        for name in ("trial", "state", "progress", "epoch", "images/s", "probes"):
            table.add_column(name)
        for line in lines:
            table.add_row(*self._cells(line))
        return table

    def _cells(self, line: Line) -> list[RenderableType]:
        status = line.status
        scores = " ".join(f"{short(key)} {value:.3f}" for key, value in line.scores.items())
        colour = COLOURS.get(status.state, "default")
        reason = f": {status.reason}" if status.reason and status.state not in DONE else ""
        speed = f"{status.images_per_s:,.0f}" if status.state == "running" else ""
        return [
            line.label,
            f"[{colour}]{status.state}[/]{reason}",
            ProgressBar(total=1.0, completed=line.fraction, width=20),
            f"{status.epoch:.1f}",
            speed,
            scores,
        ]

    def _plain(self) -> str:
        lines = self._lines()
        states = [line.status.state for line in lines]
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
        done = self._fraction(lines)
        waits = [f"{line.label}: {line.status.reason}" for line in lines if line.waits]
        said = f"{self._title}: {done:.0%} done, {self._eta(lines)}; {counts}"
        return "; ".join(filter(None, (said, *waits, self._notes())))
