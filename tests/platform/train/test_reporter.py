"""Rank 0's link to storage begins where training goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.records import StatusRecord
from mimlab.storage.store import Store
from mimlab.train.reporter import Reporter

SEGMENTS = 500
PER_SEGMENT = 4


def test_a_worker_that_goes_on_reads_the_journal_from_its_checkpoint_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = TrialFolder(Store(tmp_path), "trial")
    before = Journal(trial)
    for step in range(1, SEGMENTS * PER_SEGMENT + 1):
        before.append(step, {"train/loss": 1 / step})
        if step % PER_SEGMENT == 0:
            before.flush()
    start = (SEGMENTS - 3) * PER_SEGMENT
    read, paths = Store.read, []
    monkeypatch.setattr(Store, "read", lambda store, path: paths.append(path) or read(store, path))
    reporter = Reporter(trial, StatusRecord(state="running", step=start), lambda: None)
    assert sum("/journal/" in path for path in paths) == 3
    for step in range(start + 1, SEGMENTS * PER_SEGMENT + 2):
        reporter.append(step, {"train/loss": 1 / step})
    reporter.close()
    journal = reporter.journal
    assert (journal.compared, journal.differing) == (3 * PER_SEGMENT, 0)
    assert trial.store.list(trial.file("journal"))[-1] == f"{SEGMENTS * PER_SEGMENT + 1:09d}.jsonl"
