from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mimlab
import mimlab_objectives as science
from mimlab.data.read_plan import ReadPlan
from mimlab.data.segments import MAX_ROWS, MAX_TASKS, Place, open_segment, segments
from mimlab.data.source import OrderError, ReadResources, cut_bounds, unpack
from mimlab.train.schedule import steps_of_epochs


@pytest.mark.parametrize(("batch", "world"), [(8, 1), (8, 4), (10, 4), (7, 3), (3, 3)])
def test_a_batch_is_cut_as_numpy_splits(batch, world):
    bounds = cut_bounds(batch, world)
    cuts = [list(range(batch))[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert cuts == [part.tolist() for part in np.array_split(np.arange(batch), world)]


# Ray warns of options of its own when it makes its context.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_one_row_is_one_ranks_cut_of_one_batch_in_the_order_of_the_plan(
    ray_local, split_of, pictures
):
    split = split_of(pictures)
    plan = ReadPlan(split.rows_per_group, 3, 10)
    (tasks,) = segments(plan, 5, 60)
    rows = open_segment(
        split, plan, tasks, place=Place(), resources=ReadResources(tasks=3, cpus=0.75)
    )
    blocks = list(rows.iter_batches(batch_size=1, batch_format="pyarrow"))
    assert len(blocks) == 55
    for step, block in enumerate(blocks, start=5):
        columns = unpack(block, step=step, rank=0).columns
        ids, epochs = plan.batch(step)
        assert columns["id"].to_pylist() == ids.tolist()
        assert columns["epoch"].to_pylist() == epochs.tolist()
        assert columns["image"].to_pylist() == [pictures[i] for i in ids]


def row(step: int, rank: int, samples: int = 2) -> pa.Table:
    ids = pa.array([list(range(samples))], pa.large_list(pa.int64()))
    return pa.table({"step": pa.array([step]), "rank": pa.array([rank]), "id": ids})


@pytest.mark.parametrize("table", [row(4, 1), row(3, 0), pa.concat_tables([row(3, 1), row(4, 1)])])
def test_any_other_row_than_the_next_is_an_error(table):
    assert unpack(row(3, 1), step=3, rank=1).columns["id"].to_pylist() == [0, 1]
    with pytest.raises(OrderError, match=r"rank 1 expected its cut of batch 3, but Ray Data"):
        unpack(table, step=3, rank=1)


@pytest.mark.parametrize("batch", [1, 64, 1024])
def test_a_long_plan_is_opened_in_bounded_segments(batch):
    plan = ReadPlan(np.full(40, 256, np.int64), 0, batch)
    stop = steps_of_epochs(200, plan.num_rows, plan.batch_size)
    found = list(segments(plan, 17, stop))
    assert [task for segment in found for task in segment] == list(plan.tasks(17, stop))
    for segment in found:
        steps = segment[-1].stop_step - segment[0].start_step
        assert len(segment) <= MAX_TASKS
        assert steps < MAX_ROWS / batch + plan.window_batches
    assert len(found) > 5


def test_processes_that_only_read_do_without_torch():
    code = "import sys, mimlab.data.source; sys.exit('torch' in sys.modules)"
    roots = os.pathsep.join(str(Path(package.__path__[0]).parent) for package in (mimlab, science))
    environment = {**os.environ, "PYTHONPATH": roots}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_ranks_without_a_way_to_share_are_refused(split_of, pictures):
    split = split_of(pictures[:20])
    plan = ReadPlan(split.rows_per_group, 0, 4)
    with pytest.raises(ValueError, match="share"):
        open_segment(split, plan, [], place=Place(rank=1, world=2), resources=ReadResources())
