"""Images/s of JPEG → crop → flip → batch: mimlab's stream, a DataLoader, and the bare decoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.data_sets import imagenet, shards_of
from benchmarks.loader import BATCH, SCALE, SIZE, loader_rate
from benchmarks.measuring import Row, alternate, medians, rate, ratio
from mimlab.data.augment import AugmentConfig
from mimlab.data.decoding import Decoder, PendingBatch
from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.data.reader import read_rows
from mimlab.data.rendering import ViewSpec
from mimlab.data.source import Cut, ReadResources
from mimlab.data.stream import BatchStream, StreamOptions

IMAGES, ROUNDS, SHORT_SIDE = 6400, 5, 256
WORKERS = (1, 2, 4)
VIEW = ViewSpec(SIZE, AugmentConfig(crop_scale=SCALE, flip=0.5), 0)


def run(folder: Path) -> list[Row]:
    files = imagenet(folder / "jpegs", IMAGES)
    split = shards_of(files, folder / "shards")
    table = read_rows(split, np.arange(split.num_rows))
    table = table.append_column("epoch", [np.zeros(len(table), np.int64)]).combine_chunks()
    rows = []
    for workers in WORKERS:
        contestants = {
            "stream": partial(stream_rate, split, workers),
            "DataLoader": partial(loader_rate, files, workers),
            "bare decoder": partial(decoder_rate, split, table, workers),
        }
        rates = alternate(contestants, ROUNDS)
        figures = medians(rates, "images/s")
        # The targets are for as many threads as there are cores.
        asked = {"DataLoader": "≥ 1.5", "bare decoder": "≥ 0.9"} if workers == 2 else {}
        for peer in ("DataLoader", "bare decoder"):
            what = f"input, {workers} loading"
            times = ratio(rates, "stream", peer)
            rows.append(Row(what, peer, times, asked.get(peer, ""), figures))
            figures = {}
    return [*rows, *_other_ways(split, shards_of(files, folder / "short", SHORT_SIDE))]


def _other_ways(split: Split, short: Split) -> list[Row]:
    """Decoding in Ray Data tasks, and images that were made smaller at import."""
    contestants = {
        "stream": partial(stream_rate, split, 2),
        "tasks": partial(stream_rate, split, 2, decode=True),
        "short side": partial(stream_rate, short, 2),
    }
    rates = alternate(contestants, ROUNDS)
    figures = medians(rates, "images/s")
    decoding = ratio(rates, "tasks", "stream")
    smaller = ratio(rates, "short side", "stream")
    return [
        Row("input, decoded in tasks", "in the worker, 2 threads", decoding, "", figures),
        Row(f"input, short side of {SHORT_SIDE}", "as imported, 2 threads", smaller, "", {}),
    ]


def stream_rate(split: Split, threads: int, *, decode: bool = False) -> float:
    plan = ReadPlan(split.rows_per_group, 0, BATCH)
    stream = BatchStream(
        split,
        plan,
        VIEW,
        start_step=0,
        stop_step=split.num_rows // BATCH,
        options=StreamOptions(threads=threads, resources=ReadResources(decode=decode)),
    )
    batches = iter(stream)
    next(batches)
    return rate(len(batch.ids) for batch in batches)


def decoder_rate(split: Split, table: pa.Table, threads: int) -> float:
    """What the decoding threads give where nothing else is to be done."""
    decoder = Decoder(split, VIEW, seed=0, threads=threads)
    try:
        return rate(len(batch.result().ids) for batch in _decoded(decoder, table))
    finally:
        decoder.close()


def _decoded(decoder: Decoder, table: pa.Table) -> Iterator[PendingBatch]:
    pending: deque[PendingBatch] = deque()
    for start in range(0, len(table) - BATCH + 1, BATCH):
        part = table.slice(start, BATCH)
        columns = {name: part[name].chunk(0) for name in part.column_names}
        pending.append(decoder.submit(Cut(start // BATCH, columns)))
        if len(pending) > StreamOptions().prefetch:
            yield pending.popleft()
    yield from pending
