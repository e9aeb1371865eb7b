"""The remaining part of a read plan in segments: a Ray data set each, opened when its turn is near.

Ray Data holds every task of a data set from the start; a hundred epochs have tens of thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from ray.data import DataIterator

from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan, ReadRange
from mimlab.data.reader import ColumnSource, NeededRows, images_of, kept_of, places_of
from mimlab.data.source import ReadResources, Work, dataset_of
from mimlab.data.stored_views import StoredView

MAX_TASKS = 512
MAX_ROWS = 1 << 18
"""Planned at once, in about 0.1 s; 16 bytes a row travel with the tasks."""


@dataclass(frozen=True)
class Place:
    """This process among those that share the global batch."""

    rank: int = 0
    world: int = 1
    share: Callable[[list[DataIterator] | None], list[DataIterator]] | None = None
    """Gives what rank 0 passes to every rank; all call it in the same order. None: world is 1."""


def segments(plan: ReadPlan, start_step: int, stop_step: int) -> Iterator[list[ReadRange]]:
    """The tasks of batches [start_step, stop_step) in pieces of bounded size."""
    segment: list[ReadRange] = []
    for task in plan.tasks(start_step, stop_step):
        segment.append(task)
        rows = (task.stop_step - segment[0].start_step) * plan.batch_size
        if len(segment) >= MAX_TASKS or rows >= MAX_ROWS:
            yield segment
            segment = []
    if segment:
        yield segment


def open_segment(
    split: Split,
    plan: ReadPlan,
    tasks: Sequence[ReadRange],
    *,
    place: Place,
    resources: ReadResources,
    sources: Sequence[ColumnSource] = (),
    stored: StoredView | None = None,
    decode: Callable[[pa.Table], pa.Table] | None = None,
) -> DataIterator:
    """This rank's rows of a segment. A collective: each rank calls it for each segment in turn.

    `sources`: what is read, by default the images; `stored`: the token store that is read besides.
    `decode` is applied to each row, in tasks of its own.
    """
    chosen = tuple(sources) or (images_of(split),)
    work = partial(work_of, split, plan, sources=chosen, stored=stored, world=place.world)
    if place.world == 1:
        return dataset_of(list(map(work, tasks)), resources, decode).iterator()
    if place.share is None:
        raise ValueError("several ranks need a way to share the data set that rank 0 opens")
    iterators = None
    if place.rank == 0:
        dataset = dataset_of(list(map(work, tasks)), resources, decode)
        iterators = dataset.streaming_split(place.world, equal=False)
    return place.share(iterators)[place.rank]


def work_of(
    split: Split,
    plan: ReadPlan,
    task: ReadRange,
    *,
    sources: tuple[ColumnSource, ...],
    stored: StoredView | None,
    world: int,
) -> Work:
    """What the task reads, resolved; `sources` do not include the store."""
    rows, epochs = plan.rows(task.start_step * plan.batch_size, task.stop_step * plan.batch_size)
    needed = NeededRows.of(split.rows_per_group, rows)
    return Work(
        sources if stored is None else (*sources, stored.source(epochs)),
        places_of(split, needed.groups),
        kept_of(split, needed.groups),
        needed.positions,
        epochs,
        start_step=task.start_step,
        batch_size=plan.batch_size,
        world=world,
        stored=stored,
    )
