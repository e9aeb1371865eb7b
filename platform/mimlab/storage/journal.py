"""A trial's metric journal: numbered, immutable segments; each point written once, for good.

A trial that goes on from a checkpoint runs steps again whose points may already be in the journal.
Such points are compared with what is recorded, not written a second time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator

from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import LeaseLost
from mimlab.storage.records import JournalPoint
from mimlab.storage.store import Store

MAX_SEGMENT = 10_000
"""Points of a segment at most: whoever reads a journal holds no more at once."""


def read_points(store: Store, folder: str, after: int = 0) -> list[JournalPoint]:
    """The journal's points with `seq` above `after`, in order.

    Args:
        store: the storage.
        folder: the journal's folder, e.g. `trials/<id>/journal`.
        after: highest `seq` that the caller already has.
    """
    return list(iter_points(store, folder, after))


def iter_points(store: Store, folder: str, after: int = 0) -> Iterator[JournalPoint]:
    """The same points, read a segment at a time."""
    names = store.list(folder)
    first_seqs = [int(name.split(".")[0]) for name in names]
    for i, name in enumerate(names):
        if i + 1 < len(names) and first_seqs[i + 1] <= after + 1:
            continue
        for point in _segment(store, f"{folder}/{name}"):
            if point.seq > after:
                yield point


def _segment(store: Store, path: str) -> Iterator[JournalPoint]:
    for line in store.read(path).splitlines():
        yield JournalPoint.model_validate_json(line)


def last_seq(store: Store, folder: str) -> int:
    """The journal's high-water mark: the `seq` of its last point, 0 where it has none."""
    names = store.list(folder)
    if not names:
        return 0
    last_line = store.read(f"{folder}/{names[-1]}").splitlines()[-1]
    return JournalPoint.model_validate_json(last_line).seq


def _newest(store: Store, folder: str, after_step: int) -> deque[JournalPoint]:
    """The newest segments' points, in order: with all of the steps above `after_step`, and the
    journal's last in any case.

    They can be told from the end, since steps grow from each point of a journal to the next: a
    writer begins above the last step that it finds, and whoever did not find the last segment
    cannot publish.
    """
    points: deque[JournalPoint] = deque()
    for name in reversed(store.list(folder)):
        segment = list(_segment(store, f"{folder}/{name}"))
        points.extendleft(reversed(segment))
        if segment and segment[0].step <= after_step + 1:
            break
    return points


class Journal:
    """The single writer of a trial's journal; `flush` makes a segment of what was appended."""

    def __init__(
        self,
        trial: TrialFolder,
        *,
        after_step: int = -1,
        timing_keys: frozenset[str] = frozenset(),
    ) -> None:
        """Reads what training may come to again, and no segment before that.

        Args:
            trial: whose journal it is.
            after_step: training goes on after this step: points up to it do not come again.
            timing_keys: metrics that differ between two runs of the same step.
        """
        self._store = trial.store
        self._folder = trial.file("journal")
        self._timing_keys = timing_keys
        self._recorded = _newest(self._store, self._folder, after_step)
        """What training has not passed yet."""
        last = self._recorded[-1] if self._recorded else None
        self._last_step = last.step if last else -1
        self._last_ms = last.time_ms if last else 0
        self.seq = last.seq if last else 0
        self._pass(after_step)
        self._buffer: list[JournalPoint] = []
        self.compared = 0
        self.differing = 0

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """Add a point; one at or below the last recorded step is compared instead.

        Steps come in order: what is recorded of those before is forgotten.
        """
        self._pass(step - 1)
        if step <= self._last_step:
            self._compare(step, metrics)
            return
        self.seq += 1
        self._last_step = step
        # A clock that was set back, or another machine's, must not turn a curve around.
        self._last_ms = max(time.time_ns() // 1_000_000, self._last_ms)
        self._buffer.append(
            JournalPoint(seq=self.seq, time_ms=self._last_ms, step=step, metrics=metrics)
        )

    def _pass(self, step: int) -> None:
        while self._recorded and self._recorded[0].step <= step:
            self._recorded.popleft()

    def _compare(self, step: int, metrics: dict[str, float]) -> None:
        if not self._recorded or self._recorded[0].step != step:
            return
        recorded = self._recorded.popleft()
        self.compared += 1
        same = all(
            _equal(value, recorded.metrics.get(name))
            for name, value in metrics.items()
            if name not in self._timing_keys
        )
        self.differing += not same

    def flush(self) -> None:
        """Publish the buffered points as segments, each named by its first `seq`.

        Raises OSError; the points that were not published then wait for the next flush. Raises
        LeaseLost where another writer has published others in their place.
        """
        while points := tuple(self._buffer[:MAX_SEGMENT]):
            lines = [point.model_dump_json().encode() + b"\n" for point in points]
            path = f"{self._folder}/{points[0].seq:09d}.jsonl"
            # Another thread may append meanwhile; appending and this are atomic.
            del self._buffer[: self._published(path, lines)]

    def _published(self, path: str, lines: list[bytes]) -> int:
        """How many of the lines are in a segment now."""
        whole = b"".join(lines)
        if self._store.create(path, whole):
            return len(lines)
        # An attempt that seemed to fail, with fewer points, may have come through all the same.
        there = self._store.read(path)
        if not whole.startswith(there):
            raise LeaseLost(f"{self._store.place(path)}: another writer's points are there")
        return there.count(b"\n")


def _equal(value: float, recorded: float | None) -> bool:
    if recorded is None:
        return False
    return value == recorded or (math.isnan(value) and math.isnan(recorded))
