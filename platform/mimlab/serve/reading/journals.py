"""The curves of trials, as columns: what is new in a journal is read, the rest is remembered."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pydantic_core import from_json

from mimlab.errors import UserError
from mimlab.serve.reading.files import CachedFiles
from mimlab.serve.reading.listings import Stamp

MOST_VALUES = 4_000_000
"""That are remembered, over all trials: some 300 MB, or 300 trials of 1,000 points."""

Points = list[tuple[int, dict[str, float]]]
"""Step and metrics."""


@dataclass(frozen=True)
class _Segment:
    name: str
    stamp: Stamp | None
    points: Points


@dataclass
class _Read:
    """What was read of one journal."""

    segments: list[_Segment] = field(default_factory=list)
    columns: dict[str, tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]] = field(
        default_factory=dict
    )
    num_values: int = 0

    @property
    def points(self) -> Iterator[tuple[int, dict[str, float]]]:
        return (point for segment in self.segments for point in segment.points)


class Journals:
    """Gives columns of the trials' journals. Those that were asked for last are kept."""

    def __init__(self, files: CachedFiles) -> None:
        self._files = files
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def metrics(self, trial_id: str) -> list[str]:
        """Metric keys that a trial has logged, in the order of their first points."""
        points = self._up_to_date(trial_id).points
        return list(dict.fromkeys(key for _, metrics in points for key in metrics))

    def column(
        self, trial_id: str, metric: str
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Steps and values of a metric, where the trial has a finite one."""
        read = self._up_to_date(trial_id)
        if metric not in read.columns:
            found = [(step, values[metric]) for step, values in read.points if metric in values]
            steps = np.array([step for step, _ in found], dtype=np.int64)
            values = np.array([value for _, value in found], dtype=np.float64)
            finite = np.isfinite(values)
            read.columns[metric] = (steps[finite], values[finite])
        return read.columns[metric]

    def last(self, trial_id: str, metric: str) -> float | None:
        """The last finite value of a metric."""
        _, values = self.column(trial_id, metric)
        return float(values[-1]) if len(values) else None

    def _up_to_date(self, trial_id: str) -> _Read:
        folder = f"trials/{trial_id}/journal"
        read = self._read.pop(trial_id, None) or _Read()
        self._read[trial_id] = read
        names = self._files.list(folder)
        stamps = [self._files.stamp(f"{folder}/{name}") for name in names]
        known = [(segment.name, segment.stamp) for segment in read.segments]
        now = list(zip(names, stamps, strict=True))
        if known == now:
            return read
        # A segment never changes, but a trial may be removed and run again.
        pairs = zip(known, now, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        added = [
            _Segment(name, stamp, points_of(self._files, f"{folder}/{name}"))
            for name, stamp in now[same:]
        ]
        read.segments = [*read.segments[:same], *added]
        read.columns.clear()
        read.num_values = sum(len(metrics) for _, metrics in read.points)
        self._forget()
        return read

    def _forget(self) -> None:
        total = sum(read.num_values for read in self._read.values())
        while total > MOST_VALUES and len(self._read) > 1:
            _, oldest = self._read.popitem(last=False)
            total -= oldest.num_values


def points_of(files: CachedFiles, path: str) -> Points:
    """Step and metrics of the points of a segment. Raises UserError for one that is none."""
    lines = files.store.read(path).splitlines()
    try:
        found: list[dict[str, Any]] = from_json(b"[" + b",".join(lines) + b"]")
        return [(point["step"], point["metrics"]) for point in found]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{files.store.place(path)}: not a segment of a journal ({error}); restore the file"
        ) from error
