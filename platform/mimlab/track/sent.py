"""What MLflow was told that it did not know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Sent:
    """Counts, which grow while a session sends."""

    points: int = 0
    """Journal points."""
    probes: int = 0
    """Probe results, some of which MLflow may have had: see `ProbeMark`."""
    boards: int = 0
    runs: int = 0
    """Runs that were made."""
    statuses: int = 0
    """Runs that have another status than before, new ones included."""

    def __str__(self) -> str:
        counts = [
            (self.points, "point"),
            (self.probes, "probe result"),
            (self.boards, "board"),
            (self.runs, "new run"),
        ]
        words = [f"{count:,} {word}{'s' * (count != 1)}" for count, word in counts if count]
        if self.statuses:
            words.append(f"the status of {self.statuses:,} run{'s' * (self.statuses != 1)}")
        return ", ".join(words)
