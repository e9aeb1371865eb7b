"""A read plan of 100 million samples: its memory, and the time to its first batch."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.measuring import Row
from mimlab.data.read_plan import ReadPlan

SAMPLES, ROWS_PER_GROUP, BATCH = 100_000_000, 256, 4096


def run(folder: Path) -> list[Row]:
    del folder  # nothing is read
    groups = np.full(SAMPLES // ROWS_PER_GROUP, ROWS_PER_GROUP, np.int64)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    plan = ReadPlan(groups, 0, BATCH)
    plan.batch(0)
    first = time.perf_counter() - start
    start = time.perf_counter()
    plan.batch(12_345_678)
    later = time.perf_counter() - start
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    figures = {"first batch s": first, "batch 12,345,678 s": later, "memory MiB": grown}
    return [Row("plan of 100 million samples", "", None, "first batch in seconds", figures)]
