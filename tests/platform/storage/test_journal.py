"""A journal writes each point once, keeps its time, and survives its writer."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import Journal, read_points
from mimlab.storage.lease import LeaseLost
from mimlab.storage.records import JournalPoint
from mimlab.storage.store import Store

RUN = st.tuples(
    st.integers(0, 12),  # how far before the last published step its checkpoint lies
    st.lists(st.booleans(), max_size=12),  # of each step: whether it is published then
    st.integers(0, 1),  # its loss
)


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


def segments(trial: TrialFolder, steps: range) -> None:
    """A journal with a segment for each step."""
    journal = Journal(trial)
    for step in steps:
        journal.append(step, {"train/loss": 1 / step})
        journal.flush()


@settings(deadline=None)
@given(st.lists(RUN, max_size=6))
def test_each_step_is_there_once_and_in_order_wherever_its_writers_died_and_went_on(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, list[bool], int]]
) -> None:
    trial = trial_in(tmp_path_factory.mktemp("runs"))
    published = 0
    losses: dict[int, int] = {}
    for back, flushes, loss in runs:
        start = max(0, published - back)
        journal = Journal(trial, after_step=start)
        assert journal.seq == published
        steps = range(start + 1, start + 1 + len(flushes))
        again = [losses[step] for step in steps if step in losses]
        for step, flush in zip(steps, flushes, strict=True):
            journal.append(step, {"train/loss": float(loss)})
            if flush:
                journal.flush()
                losses |= dict.fromkeys(range(published + 1, step + 1), loss)
                published = max(published, step)
        assert journal.compared == len(again)
        assert journal.differing == sum(recorded != loss for recorded in again)
    found = points(trial)
    assert [(p.seq, p.step) for p in found] == [(n, n) for n in range(1, published + 1)]
    assert [p.metrics["train/loss"] for p in found] == [losses[p.step] for p in found]
    assert sorted(p.time_ms for p in found) == [p.time_ms for p in found]


@pytest.mark.parametrize(("after_step", "num_read"), [(300, 1), (299, 1), (290, 10), (0, 300)])
def test_whoever_goes_on_reads_the_segments_from_there_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_step: int, num_read: int
) -> None:
    trial = trial_in(tmp_path)
    segments(trial, range(1, 301))
    read, paths = Store.read, []
    monkeypatch.setattr(Store, "read", lambda store, path: paths.append(path) or read(store, path))
    journal = Journal(trial, after_step=after_step)
    assert len(paths) == num_read
    for step in range(after_step + 1, 302):
        journal.append(step, {"train/loss": 1 / step})
    assert (journal.seq, journal.compared, journal.differing) == (301, 300 - after_step, 0)


def test_a_segment_that_reaches_back_over_the_checkpoint_is_compared_from_there(
    tmp_path: Path,
) -> None:
    trial = trial_in(tmp_path)
    first = Journal(trial)
    for step in range(1, 7):
        first.append(step, {"train/loss": 1.0})
        if step in (2, 5):
            first.flush()
    first.flush()
    again = Journal(trial, after_step=3)
    for step in (4, 5, 6, 7):
        again.append(step, {"train/loss": 0.5})
    again.flush()
    assert (again.compared, again.differing) == (3, 3)
    assert [(p.seq, p.step) for p in points(trial)] == [(n, n) for n in range(1, 8)]


def held() -> int:
    """Points in memory."""
    gc.collect()
    return sum(type(found) is JournalPoint for found in gc.get_objects())


def test_recorded_points_are_let_go_once_training_has_passed_them(tmp_path: Path) -> None:
    """Those, too, that it does not come to: here it logs every second step."""
    trial = trial_in(tmp_path)
    segments(trial, range(1, 101))
    before = held()
    journal = Journal(trial, after_step=60)
    assert held() - before == 40
    for step in range(62, 81, 2):
        journal.append(step, {"train/loss": 1 / step})
    assert held() - before == 20
    journal.append(102, {"train/loss": 1.0})
    journal.flush()
    assert held() == before
    assert (journal.compared, journal.differing) == (10, 0)
