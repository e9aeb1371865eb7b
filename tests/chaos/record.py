"""What was done so far, kept in a file, so that a run that was broken off can be gone on with."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos.rounds import Injection, Round


@dataclass(frozen=True)
class Schedule:
    """What faults come when."""

    seed: int
    faults: Sequence[str]
    steps: int
    """Of a study."""
    a_study: int
    """Faults in one, at most."""
    apart_s: float


@dataclass(frozen=True)
class Entry:
    """A round, and what it is held against."""

    round: Round
    drawn: int
    """Faults that were to be injected."""
    quiet_s: float
    """Of the same study without faults, on that day."""
    quiet_trained_s: float
    commit: str
    date: str


class Record:
    """The entries of a schedule, in a file or, where `file` is None, nowhere.

    A file that has all `wanted` faults already is begun anew.
    """

    def __init__(self, file: Path | None, schedule: Schedule, wanted: int) -> None:
        """Raises ValueError if the file is of another schedule."""
        self._file = file
        self.entries: list[Entry] = []
        key = json.dumps(asdict(schedule))
        if file is not None and file.exists():
            first, *lines = file.read_text().splitlines()
            if first != key:
                raise ValueError(f"{file} is of another schedule, {first}; remove it")
            self.entries = [_entry(json.loads(line)) for line in lines]
        if file is not None and (not self.entries or len(self.injections) >= wanted):
            self.entries = []
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(key + "\n")

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file is not None:
            with self._file.open("a") as stream:
                stream.write(json.dumps(asdict(entry), default=str) + "\n")

    @property
    def rounds(self) -> list[Round]:
        return [entry.round for entry in self.entries]

    @property
    def injections(self) -> list[Injection]:
        return [injection for found in self.rounds for injection in found.injections]

    @property
    def drawn(self) -> int:
        return sum(entry.drawn for entry in self.entries)


def entry_of(found: Round, drawn: int, *, quiet_s: float, quiet_trained_s: float) -> Entry:
    """One of today."""
    today = datetime.date.today().isoformat()
    return Entry(found, drawn, quiet_s, quiet_trained_s, _commit(), today)


def _commit() -> str:
    """With `-dirty` where what runs is not what it holds; pages do not count."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", "platform", "objectives", "tests", "cluster")
    return f"{head}-dirty" if changed else head


def _git(*arguments: str) -> str:
    said = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return said.stdout.strip()


def _entry(found: dict) -> Entry:
    of_round = found.pop("round")
    injections = [Injection(**each) for each in of_round.pop("injections")]
    folder = Path(of_round.pop("folder"))
    return Entry(round=Round(injections=injections, folder=folder, **of_round), **found)
