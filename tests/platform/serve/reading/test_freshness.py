"""What is remembered is never shown once it has changed."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.serve.reading import Reading
from mimlab.serve.reading.files import CachedFiles
from mimlab.storage.records import StatusRecord
from mimlab.storage.store import Store

PATH = "trials/one/status.json"
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 9)),
    st.tuples(st.just("remove"), st.just(0)),
    st.tuples(st.just("age"), st.integers(2, 9)),
    st.tuples(st.just("read"), st.just(0)),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_a_record_is_what_the_file_says_whatever_came_before(steps: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        store = Store(folder)
        files = CachedFiles(store)
        ages = itertools.count(10)
        for what, value in [*steps, ("read", 0)]:
            if what == "write":
                store.write_record(PATH, StatusRecord(state="running", step=value))
            elif what == "remove":
                store.remove(PATH)
            elif what == "age" and store.exists(PATH):
                # As if it had been written long ago: only such a file is remembered.
                past = time.time() - 10 * next(ages)
                os.utime(Path(folder, PATH), (past, past))
            elif what == "read":
                truth = store.read_record(PATH, StatusRecord)
                assert files.record(PATH, StatusRecord) == truth
                assert files.list("trials/one") == store.list("trials/one")


def test_a_settled_file_is_read_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record(PATH, StatusRecord(state="running"))
    os.utime(tmp_path / PATH, (1.0, 1.0))
    files = CachedFiles(store)
    assert files.record(PATH, StatusRecord) is files.record(PATH, StatusRecord)


def test_curves_grow_as_the_journal_does(storage) -> None:
    trial = storage.trial()
    storage.submission(trials=[trial])
    reading = Reading(storage.store)
    storage.points(trial, [3.0, 2.0])
    assert reading.curves([trial.id], ["train/loss"], 100)[0].values == [3.0, 2.0]
    storage.points(trial, [1.0, float("nan"), 0.5], first_step=30)
    (curve,) = reading.curves([trial.id], ["train/loss"], 100)
    assert curve.values == [3.0, 2.0, 1.0, 0.5]
    assert curve.steps == [10, 20, 30, 50]


def test_a_trial_that_was_removed_and_run_again_has_its_new_curve(storage) -> None:
    trial = storage.trial()
    storage.submission(trials=[trial])
    reading = Reading(storage.store)
    folder = Path(storage.store.root, "trials", trial.id, "journal")
    for age, losses in ((90, [3.0, 2.0]), (50, [9.0, 8.0])):
        storage.store.remove(f"trials/{trial.id}/journal")
        storage.points(trial, losses)
        for path in (*folder.iterdir(), folder):
            os.utime(path, (time.time() - age, time.time() - age))
        assert reading.curves([trial.id], ["train/loss"], 100)[0].values == losses
