"""A Ray Data source that executes a part of a read plan, in order.

One row of the data set is one rank's cut of one global batch: `step`, `rank`, and every column of
its samples as one list. Ray Data never splits a row, and with a target block size of one byte it
never joins two, so each row is a block. `streaming_split` gives each block to the rank that has had
the fewest rows, the lowest one first: rank 0, 1, …, world − 1, 0, … That is how Ray 2.60 does it
and nothing that it promises, so `unpack` checks each row that arrives.

Kept free of torch, because the processes that only read import it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import ray.data
from jaxtyping import Int64
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from mimlab.data.reader import ColumnSource, GroupPlace, Kept, read_groups
from mimlab.data.stored_views import StoredView

DECODE_CPUS = 1.0
"""CPUs of a task that decodes."""


@dataclass(frozen=True)
class ReadResources:
    """What reading may take of the cluster."""

    tasks: int = 2
    """Read tasks at once; each holds the encoded images of one window twice for a moment."""
    cpus: float = 0.25
    """CPUs that all of them reserve together."""
    decode: bool = False
    """Decode in tasks, as many at once as there are free CPUs, instead of where batches arrive."""


@dataclass(frozen=True)
class Work:
    """What one task reads: everything resolved, so that it needs neither plan nor manifest."""

    sources: tuple[ColumnSource, ...]
    places: tuple[GroupPlace, ...]
    kept: Kept
    positions: Int64[np.ndarray, " rows"]
    """Of each sample of the task's batches in the kept rows read one after the other."""
    epochs: Int64[np.ndarray, " rows"]
    start_step: int
    batch_size: int
    world: int
    stored: StoredView | None = None
    """The token store among the sources."""


class Cut(NamedTuple):
    """One rank's samples of one global batch, as they arrive."""

    step: int
    columns: dict[str, pa.Array]


class OrderError(RuntimeError):
    """Ray Data delivered something else than the next cut of this rank."""


class PlanDatasource(Datasource):
    """Executes a list of tasks, one Ray Data read task for each."""

    def __init__(self, works: Sequence[Work]) -> None:
        super().__init__()
        self._works = works

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown: with a size, Ray would think about splitting the tasks' outputs."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: ray.data.DataContext | None = None,
    ) -> list:
        """One task for each piece of work, whatever parallelism is asked for."""
        del parallelism, per_task_row_limit, data_context
        # Not annotated: ReadTask's own annotations are of a kind that beartype warns of.
        return [_task(work) for work in self._works]


def dataset_of(
    works: Sequence[Work],
    resources: ReadResources,
    decode: Callable[[pa.Table], pa.Table] | None = None,
) -> ray.data.Dataset:
    """A data set of one row for each (step, rank), in that order; `decode` is applied to each."""
    dataset = ray.data.read_datasource(
        PlanDatasource(works),
        override_num_blocks=len(works),
        concurrency=min(resources.tasks, len(works)),
        num_cpus=resources.cpus / resources.tasks,
    )
    if decode is not None:
        dataset = dataset.map_batches(
            decode,
            batch_size=None,
            batch_format="pyarrow",
            # Another amount than reading asks for keeps Ray from doing both in one task.
            num_cpus=DECODE_CPUS,
        )
    context = dataset.context
    context.target_max_block_size = 1
    context.execution_options.preserve_order = True
    context.execution_options.verbose_progress = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    _quiet()
    return dataset


def _quiet() -> None:
    """Let Ray Data warn, but not tell of each data set that it begins and ends without a bar."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def cut_bounds(batch_size: int, world: int) -> list[int]:
    """Where the ranks' cuts of a global batch begin, and its end: sizes as `numpy.array_split`."""
    small, larger = divmod(batch_size, world)
    return [rank * small + min(rank, larger) for rank in range(world + 1)]


def unpack(row: pa.Table, *, step: int, rank: int) -> Cut:
    """The samples of a row; raises OrderError if it is not the one of (step, rank)."""
    got = list(zip(row["step"].to_pylist(), row["rank"].to_pylist(), strict=True))
    if got != [(step, rank)]:
        raise OrderError(
            f"rank {rank} expected its cut of batch {step}, but Ray Data {ray.__version__} gave it "
            f"(batch, rank) {got}; this order was checked with Ray 2.60"
        )
    names = [name for name in row.column_names if name not in ("step", "rank")]
    return Cut(step, {name: row[name].chunk(0).flatten() for name in names})


def rank_rows(work: Work) -> Iterator[pa.Table]:
    """What a task gives: a row for each (step, rank), in that order."""
    window = read_groups(work.sources, work.places, work.kept)
    bounds = cut_bounds(work.batch_size, work.world)
    for first in range(0, len(work.positions), work.batch_size):
        step = work.start_step + first // work.batch_size
        for rank in range(work.world):
            cut = slice(first + bounds[rank], first + bounds[rank + 1])
            samples = window.take(pa.array(work.positions[cut]))
            samples = samples.append_column("epoch", pa.array(work.epochs[cut]))
            if work.stored is not None:
                samples = work.stored.chosen(samples)
            yield _pack(samples, step, rank)


def _pack(samples: pa.Table, step: int, rank: int) -> pa.Table:
    offsets = pa.array([0, samples.num_rows], pa.int64())
    lists = {
        name: pa.LargeListArray.from_arrays(offsets, samples[name].chunk(0))
        for name in samples.column_names
    }
    return pa.table({"step": pa.array([step]), "rank": pa.array([rank]), **lists})


def _task(work: Work):
    rows = len(work.positions) // work.batch_size * work.world
    size = BlockMetadata(num_rows=rows, size_bytes=None, input_files=None, exec_stats=None)
    return ReadTask(functools.partial(rank_rows, work), size)
