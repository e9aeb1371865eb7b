"""A journal that is longer than the memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import MAX_SEGMENT, Journal, iter_points, last_seq
from mimlab.storage.store import Store

POINTS = 1_000_000
HELD_MB = 60
"""A segment and a request, with room for the allocator."""

READER = """
import sys
from mimlab.storage.journal import iter_points
from mimlab.storage.store import Store
from mimlab.track.batches import batches

def peak_mb():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

store, before = Store(sys.argv[1]), peak_mb()
largest = values = seq = 0
for batch in batches(iter_points(store, "journal"), after=0):
    largest, values, seq = max(largest, len(batch.values)), values + len(batch.values), batch.seq
print(largest, values, seq, peak_mb() - before)
"""


@pytest.mark.slow
def test_a_million_points_are_never_held_at_once(tmp_path: Path) -> None:
    for first in range(1, POINTS + 1, MAX_SEGMENT):
        lines = [
            f'{{"seq":{seq},"time_ms":{seq},"step":{seq},"metrics":{{"train/loss":0.5}}}}\n'
            for seq in range(first, first + MAX_SEGMENT)
        ]
        Store(tmp_path).write(f"journal/{first:09d}.jsonl", "".join(lines).encode())
    read = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    largest, values, seq, grown_mb = map(int, read.stdout.split())
    assert (largest, values, seq) == (999, POINTS, POINTS)
    assert grown_mb < HELD_MB


def test_what_has_waited_long_becomes_segments_that_can_be_read_one_by_one(tmp_path: Path) -> None:
    """As after an hour without storage."""
    trial = TrialFolder(Store(tmp_path), "trial")
    journal = Journal(trial)
    for step in range(MAX_SEGMENT + 5):
        journal.append(step, {})
    journal.flush()
    folder = trial.file("journal")
    assert trial.store.list(folder) == ["000000001.jsonl", f"{MAX_SEGMENT + 1:09d}.jsonl"]
    assert last_seq(trial.store, folder) == MAX_SEGMENT + 5
    rest = iter_points(trial.store, folder, after=MAX_SEGMENT - 1)
    assert [point.seq for point in rest] == list(range(MAX_SEGMENT, MAX_SEGMENT + 6))


def test_an_empty_journal_has_no_last_point(tmp_path: Path) -> None:
    assert last_seq(Store(tmp_path), "journal") == 0
