"""The order in which samples are read: a pure function of (manifest, seed, epoch, batch size).

The plan is an endless stream of positions 0, 1, 2, …; position p belongs to epoch p // N, and
global batch s is the positions [s·B, (s+1)·B). Batches are therefore always full and may cross the
end of an epoch, while every row comes exactly once an epoch. Inside an epoch the row groups are
permuted, the resulting sequence of rows is cut into windows, and each window's rows are permuted. A
window is a whole number of batches wide and starts with a batch, so that a task which reads whole
windows reads each row group about once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from mimlab_objectives.keys import key_of, sample_keys

MIN_WINDOW_ROW_GROUPS = 16
MIN_WINDOW_BATCHES = 4

Rows = Int64[np.ndarray, " rows"]


class ReadRange(NamedTuple):
    """Global batches [start_step, stop_step): the work of one task."""

    start_step: int
    stop_step: int


class GroupOrder(NamedTuple):
    """One epoch's sequence of row groups."""

    group: Int64[np.ndarray, " groups"]
    """Row group at each place of the sequence."""
    start: Int64[np.ndarray, " groups+1"]
    """First epoch-relative position of each place; ends with N."""


@dataclass(frozen=True, eq=False)
class ReadPlan:
    """The read plan of one split.

    Memory is O(row groups + window), whatever the number of samples and epochs.
    """

    rows_per_group: Int64[np.ndarray, " groups"]
    seed: int
    batch_size: int
    """Of the global batch."""
    _first_row: Int64[np.ndarray, " groups+1"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or len(self.rows_per_group) == 0 or self.rows_per_group.min() < 1:
            raise ValueError("a read plan needs a batch size and row groups of at least 1 row")
        keep = functools.partial(object.__setattr__, self)
        keep("_first_row", _starts(self.rows_per_group))
        # An epoch's end meets the next one's start: two entries serve any sequential reader.
        keep("_order", functools.lru_cache(maxsize=2)(self._order))
        keep("_window_rows", functools.lru_cache(maxsize=2)(self._window_rows))

    def __reduce__(self):
        """Travel as the definition, without the caches."""
        return ReadPlan, (self.rows_per_group, self.seed, self.batch_size)

    @property
    def num_rows(self) -> int:
        return int(self._first_row[-1])

    @property
    def window_batches(self) -> int:
        """Width of a window in global batches."""
        mean_rows = self.num_rows / len(self.rows_per_group)
        rows = max(MIN_WINDOW_ROW_GROUPS * mean_rows, MIN_WINDOW_BATCHES * self.batch_size)
        return math.ceil(rows / self.batch_size)

    def rows(self, start: int, stop: int) -> tuple[Rows, Rows]:
        """Row in the split and epoch of each global position in [start, stop)."""
        rows, epochs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while start < stop:
            epoch, inside = divmod(start, self.num_rows)
            first, last = self._window(epoch, inside)
            count = min(stop - start, last - inside)
            window = self._window_rows(epoch, first, last)
            rows.append(window[inside - first : inside - first + count])
            epochs.append(np.full(count, epoch, np.int64))
            start += count
        return np.concatenate(rows), np.concatenate(epochs)

    def batch(self, step: int) -> tuple[Rows, Rows]:
        """Rows and epochs of global batch `step`."""
        return self.rows(step * self.batch_size, (step + 1) * self.batch_size)

    def tasks(self, start_step: int, stop_step: int) -> Iterator[ReadRange]:
        """The batches [start_step, stop_step) in pieces that share windows."""
        wide = self.window_batches
        while start_step < stop_step:
            end = min((start_step // wide + 1) * wide, stop_step)
            yield ReadRange(start_step, end)
            start_step = end

    def _window(self, epoch: int, inside: int) -> tuple[int, int]:
        """Epoch-relative bounds of the window that holds epoch-relative position `inside`.

        The inner bounds lie on the global grid of windows. A first or last piece that is shorter
        than a window joins its neighbour, so that no window mixes fewer rows than promised.
        """
        width, total = self.window_batches * self.batch_size, self.num_rows
        offset = -epoch * total % width
        lowest = offset + width
        highest = offset + ((total - offset) // width - 1) * width
        if highest < lowest:
            return 0, total
        if inside < lowest:
            return 0, lowest
        if inside >= highest:
            return highest, total
        first = inside - (inside - offset) % width
        return first, first + width

    def _window_rows(self, epoch: int, first: int, last: int) -> Rows:
        """Rows at the epoch-relative positions of one window."""
        order = self._order(epoch)
        places = np.arange(
            np.searchsorted(order.start, first, "right") - 1,
            np.searchsorted(order.start, last, "left"),
        )
        begin = np.maximum(order.start[places], first)
        counts = np.minimum(order.start[places + 1], last) - begin
        shift = self._first_row[order.group[places]] - order.start[places]
        rows = np.arange(first, last) + np.repeat(shift, counts)
        return rows[self._shuffle("row", rows, epoch)]

    def _order(self, epoch: int) -> GroupOrder:
        group = self._shuffle("row group", np.arange(len(self.rows_per_group)), epoch)
        return GroupOrder(group, _starts(self.rows_per_group[group]))

    def _shuffle(self, what: str, numbers: Rows, epoch: int) -> Rows:
        keys = sample_keys(key_of(self.seed, "read plan", what), numbers, epoch)
        return np.argsort(keys, kind="stable")


def _starts(counts: Rows) -> Int64[np.ndarray, " rows+1"]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
