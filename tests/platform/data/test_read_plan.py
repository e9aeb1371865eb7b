from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.data.read_plan import ReadPlan
from mimlab.train.schedule import steps_of_epochs

plans = st.builds(
    lambda groups, seed, batch: ReadPlan(np.array(groups, np.int64), seed, batch),
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.integers(0, 2**31),
    st.integers(1, 24),
)


def plan_of(groups: int, *, batch: int, seed: int = 0, rows: int = 32) -> ReadPlan:
    return ReadPlan(np.full(groups, rows, np.int64), seed, batch)


@given(plans)
@settings(max_examples=60, deadline=None)
def test_every_sample_comes_once_an_epoch(plan):
    total = plan.num_rows
    rows, epochs = plan.rows(0, 4 * total)
    assert (epochs == np.repeat(np.arange(4), total)).all()
    assert (np.sort(rows.reshape(4, total), axis=1) == np.arange(total)).all()


@given(plans, st.data())
@settings(max_examples=60, deadline=None)
def test_any_part_is_a_slice_of_the_whole(plan, data):
    stop = data.draw(st.integers(1, 5 * plan.num_rows))
    start = data.draw(st.integers(0, stop))
    whole, part = plan.rows(0, stop), plan.rows(start, stop)
    assert (part[0] == whole[0][start:]).all()
    assert (part[1] == whole[1][start:]).all()


@given(plans, st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_batches_are_full_and_follow_each_other(plan, step):
    size = plan.batch_size
    rows, epochs = plan.batch(step)
    assert len(rows) == len(epochs) == size
    assert (rows == plan.rows(0, (step + 1) * size)[0][-size:]).all()


@given(plans, st.integers(0, 50), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_tasks_cut_the_remaining_steps_on_the_grid_of_windows(plan, start, count):
    tasks = list(plan.tasks(start, start + count))
    steps = [step for task in tasks for step in range(*task)]
    assert steps == list(range(start, start + count))
    assert all(task.start_step % plan.window_batches == 0 for task in tasks[1:])
    assert all(task.stop_step - task.start_step <= plan.window_batches for task in tasks)


@given(plans)
@settings(max_examples=60, deadline=None)
def test_a_window_holds_sixteen_row_groups_and_four_batches(plan):
    rows = plan.window_batches * plan.batch_size
    bound = max(16 * plan.num_rows / len(plan.rows_per_group), 4 * plan.batch_size)
    assert bound <= rows < bound + plan.batch_size


@pytest.mark.parametrize("groups", [48, 50, 57, 63])
def test_a_batch_mixes_many_row_groups_wherever_the_epoch_ends(groups):
    """Even if every row group held one class only, no batch would see but a few of them.

    64 draws from at least 16 groups miss (15/16)⁶⁴ = 1.6 % of them: 15.7 on average.
    """
    plan = plan_of(groups, batch=64)
    seen = [
        len(np.unique(plan.batch(step)[0] // 32))
        for step in range(steps_of_epochs(12, plan.num_rows, plan.batch_size))
    ]
    assert min(seen) >= 11
    assert np.mean(seen) >= 15.5


@pytest.mark.parametrize("groups", [48, 50, 57, 63])
def test_a_task_reads_hardly_more_row_groups_than_it_needs(groups):
    """One window is 16 row groups, cut at both ends; next to an epoch's end it is up to two."""
    plan = plan_of(groups, batch=64)
    counts = []
    for task in plan.tasks(0, steps_of_epochs(12, plan.num_rows, plan.batch_size)):
        rows, _ = plan.rows(task.start_step * 64, task.stop_step * 64)
        counts.append(len(np.unique(rows // 32)))
    assert max(counts) <= 2 * 2 * 16 + 2
    assert np.mean(counts) <= 2.2 * 16


def test_class_counts_of_batches_are_those_of_a_full_shuffle():
    """Pearson's χ² of a batch's class counts: C − 1 on average under a full shuffle."""
    classes, plan = 10, plan_of(400, batch=128)
    labels = np.random.default_rng(0).permutation(np.arange(plan.num_rows) % classes)
    steps = steps_of_epochs(5, plan.num_rows, plan.batch_size)
    counts = np.stack([np.bincount(labels[plan.batch(s)[0]], minlength=10) for s in range(steps)])
    expected = plan.batch_size / classes
    chi2 = ((counts - expected) ** 2 / expected).sum(axis=1)
    full_shuffle = (classes - 1) * (1 - plan.batch_size / plan.num_rows)
    assert chi2.mean() == pytest.approx(full_shuffle, rel=0.1)


def test_orders_of_epochs_and_seeds_are_unrelated():
    plan, other = (plan_of(1000, batch=16, rows=8, seed=seed) for seed in (0, 1))
    total = plan.num_rows
    first, second = plan.rows(0, total)[0], plan.rows(total, 2 * total)[0]
    for order in (second, other.rows(0, total)[0], np.arange(total)):
        assert abs(np.corrcoef(first, order)[0, 1]) < 0.1
        assert (first == order).mean() < 0.02


def test_the_order_never_changes_from_one_version_to_the_next():
    rows, epochs = ReadPlan(np.array([3, 2, 4], np.int64), 7, 4).rows(0, 18)
    assert rows.tolist() == [2, 0, 8, 1, 6, 5, 3, 7, 4, 3, 4, 8, 5, 2, 6, 7, 0, 1]
    assert epochs.tolist() == [0] * 9 + [1] * 9


def test_a_plan_travels_as_its_definition():
    plan = plan_of(390, batch=64, rows=256)
    before = len(pickle.dumps(plan))
    plan.rows(0, 10_000)
    copy = pickle.loads(pickle.dumps(plan))
    assert len(pickle.dumps(plan)) == before < 5_000
    assert (copy.rows(5, 999)[0] == plan.rows(5, 999)[0]).all()


def test_a_hundred_million_samples_are_planned_in_seconds():
    start = time.perf_counter()
    rows, _ = plan_of(390_625, batch=1024, rows=256).batch(0)
    assert time.perf_counter() - start < 2
    assert len(np.unique(rows)) == 1024


@pytest.mark.parametrize(("groups", "batch"), [([], 4), ([3, 0], 4), ([3], 0)])
def test_a_plan_of_nothing_is_refused(groups, batch):
    with pytest.raises(ValueError, match="at least 1 row"):
        ReadPlan(np.array(groups, np.int64), 0, batch)
