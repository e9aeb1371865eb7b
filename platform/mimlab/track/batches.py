"""Journal points cut into requests that MLflow accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mimlab.storage.records import JournalPoint
from mimlab.track.labels import name_key

MAX_VALUES = 999
"""A request holds at most 1,000 entities (mlflow/utils/validation.py): the values and one tag."""


class Value(NamedTuple):
    """One metric value; the same four fields are one row in MLflow, however often they are sent."""

    key: str
    value: float
    time_ms: int
    step: int


class ValueBatch(NamedTuple):
    """Values of one request, and the `seq` up to which MLflow then has every point whole."""

    values: list[Value]
    seq: int


def batches(
    points: Iterable[JournalPoint], *, after: int, limit: int = MAX_VALUES
) -> Iterator[ValueBatch]:
    """Points in order, as few requests as possible, none with more than `limit` values.

    Holds one request at a time: a journal may be longer than the memory.
    """
    batch = ValueBatch([], after)
    for point in points:
        values = [
            Value(name_key(k), v, point.time_ms, point.step) for k, v in point.metrics.items()
        ]
        for value in values:
            if len(batch.values) == limit:
                yield batch
                batch = ValueBatch([], batch.seq)
            batch.values.append(value)
        batch = ValueBatch(batch.values, point.seq)
    if batch.seq > after or batch.values:
        yield batch
