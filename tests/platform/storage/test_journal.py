"""A journal writes each point once, keeps its time, and survives its writer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import Journal, read_points
from mimlab.storage.lease import LeaseLost
from mimlab.storage.store import Store


def trial_in(folder: Path) -> TrialFolder:
    return TrialFolder(Store(folder), "trial")


def points(trial: TrialFolder, after: int = 0):
    return read_points(trial.store, trial.file("journal"), after)


def test_points_appear_when_flushed_and_not_before(tmp_path: Path) -> None:
    trial = trial_in(tmp_path)
    journal = Journal(trial)
    journal.append(10, {"train/loss": 1.0})
    assert points(trial) == []
    journal.flush()
    assert [(p.seq, p.step, p.metrics) for p in points(trial)] == [(1, 10, {"train/loss": 1.0})]


def test_an_unflushed_point_of_a_dead_writer_is_written_by_the_next(tmp_path: Path) -> None:
    trial = trial_in(tmp_path)
    first = Journal(trial)
    first.append(10, {"train/loss": 1.0})
    first.flush()
    first.append(20, {"train/loss": 0.5})
    second = Journal(trial)
    second.append(10, {"train/loss": 1.0})
    second.append(20, {"train/loss": 0.5})
    second.flush()
    assert [(p.seq, p.step) for p in points(trial)] == [(1, 10), (2, 20)]


def test_points_run_again_are_compared_and_keep_their_time(tmp_path: Path) -> None:
    trial = trial_in(tmp_path)
    first = Journal(trial, timing_keys=frozenset({"speed"}))
    for step in (10, 20, 30):
        first.append(step, {"train/loss": 1 / step, "speed": 100.0})
    first.flush()
    before = points(trial)
    again = Journal(trial, timing_keys=frozenset({"speed"}))
    again.append(20, {"train/loss": 1 / 20, "speed": 55.0})
    again.append(30, {"train/loss": 0.9, "speed": 55.0})
    again.flush()
    assert points(trial) == before
    assert (again.compared, again.differing) == (2, 1)


def test_times_never_go_back_when_a_clock_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while a machine's clock is set back, nor on one whose clock is behind."""
    trial, clock = trial_in(tmp_path), iter([5_000, 7_000, 2_000, 1_000, 9_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 1_000_000)
    for steps in ((10, 20, 30), (40, 50)):
        journal = Journal(trial)
        for step in steps:
            journal.append(step, {"train/loss": 1.0})
        journal.flush()
    assert [point.time_ms for point in points(trial)] == [5_000, 7_000, 7_000, 7_000, 9_000]


def test_not_a_number_equals_itself_when_compared(tmp_path: Path) -> None:
    trial = trial_in(tmp_path)
    first = Journal(trial)
    first.append(1, {"train/loss": float("inf")})
    first.flush()
    again = Journal(trial)
    again.append(1, {"train/loss": float("inf")})
    assert again.differing == 0


@settings(max_examples=25, deadline=None)
@given(
    flushes=st.lists(st.booleans(), min_size=1, max_size=12),
    after=st.integers(min_value=0, max_value=13),
)
def test_reading_after_a_mark_gives_exactly_the_rest(
    tmp_path_factory, flushes: list[bool], after: int
) -> None:
    trial = trial_in(tmp_path_factory.mktemp("journal"))
    journal = Journal(trial)
    for step, flush in enumerate(flushes):
        journal.append(step, {"train/loss": float(step)})
        if flush:
            journal.flush()
    journal.flush()
    everything = points(trial)
    assert [p.seq for p in everything] == list(range(1, len(flushes) + 1))
    assert points(trial, after) == [p for p in everything if p.seq > after]


def test_another_writers_points_are_never_replaced(tmp_path: Path) -> None:
    """A worker that was cut off thaws, and writes what its successor has written otherwise."""
    trial = trial_in(tmp_path)
    frozen, successor = Journal(trial), Journal(trial)
    frozen.append(10, {"train/loss": 1.0})
    time.sleep(0.002)
    for step in (10, 20):
        successor.append(step, {"train/loss": 1.0})
    successor.flush()
    with pytest.raises(LeaseLost, match=r"000000001\.jsonl: another writer's points"):
        frozen.flush()
    assert [(p.seq, p.step) for p in points(trial)] == [(1, 10), (2, 20)]


@given(st.integers(1, 4), st.integers(0, 4))
def test_what_came_through_of_an_attempt_that_seemed_to_fail_counts(
    tmp_path_factory: pytest.TempPathFactory, first: int, more: int
) -> None:
    trial = trial_in(tmp_path_factory.mktemp("lost"))
    journal = Journal(trial)
    create, lost = trial.store.create, [TimeoutError("the answer was lost")]

    def losing(path: str, data: bytes) -> bool:
        created = create(path, data)
        if lost:
            raise lost.pop()
        return created

    trial.store.create = losing
    for step in range(first):
        journal.append(step, {})
    with pytest.raises(TimeoutError):
        journal.flush()
    for step in range(first, first + more):
        journal.append(step, {})
    journal.flush()
    assert [p.seq for p in points(trial)] == list(range(1, first + more + 1))
