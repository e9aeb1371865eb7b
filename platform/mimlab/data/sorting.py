"""The permutation of an import: an external sort by random keys, in two rounds of Ray tasks.

Each source row has a place in [0, 1): a hash of (seed, split, row number in the source). Sorting by
place permutes a split as a whole. Round 1 reads pieces of the source, checks the images and writes
runs: files sorted by place and cut into buckets of equal width. Round 2 takes one bucket out of all
runs, sorts it and writes it as a shard. Nobody holds more than a run or a bucket, and since buckets
only cut the sorted sequence, its order does not depend on their number.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from pydantic import BaseModel, Field

from mimlab.data.checking import Checked, Rejected, check_image
from mimlab.data.pieces import PIECE, Piece, SourceRow
from mimlab.data.shards import table_of, write_shard
from mimlab.data.shrinking import shrunk
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, mapped, place_of, staged
from mimlab_objectives.keys import fold, key_of, uniform_numpy

RUN_BYTES = 64 << 20
"""Encoded images that a task holds before it writes them."""


class SplitPlan(BaseModel):
    """How one split is sorted."""

    name: str
    seed: int
    buckets: int
    short_side: int | None = None
    """Most pixels on the shorter side of an image; null leaves images as large as they are."""


class Reject(NamedTuple):
    source: str
    reason: str


class Tally(BaseModel):
    """What a piece of the source came to."""

    rows: int = 0
    bucket_rows: list[int] = Field(default_factory=list)
    """Accepted rows of each bucket."""
    runs: list[str] = Field(default_factory=list)
    rejects: list[Reject] = Field(default_factory=list)
    converted: Counter[str] = Field(default_factory=Counter)
    widths: Counter[int] = Field(default_factory=Counter)
    heights: Counter[int] = Field(default_factory=Counter)
    labels: Counter[int] = Field(default_factory=Counter)
    failure: str = ""
    """What makes the whole import impossible."""


class Placed(NamedTuple):
    place: float
    position: int
    """Row number in the source: orders the rare rows of equal place."""
    label: int | None
    image: Checked
    name: str | None


def places(plan: SplitPlan, start: int, count: int) -> Float64[np.ndarray, " rows"]:
    """Where source rows `start`, `start` + 1, … go, in [0, 1)."""
    rows = np.arange(start, start + count)
    key = np.full(count, key_of(plan.seed, "import", plan.name), np.int64)
    return uniform_numpy(fold(key, rows), 1)[:, 0]


def sort_piece(item: dict[str, Any], work: str, plans: list[str]) -> dict[str, Any]:
    """Round 1, a Ray task: check a piece's images and write its runs into the folder `work`."""
    piece = PIECE.validate_json(item["piece"])
    plan = SplitPlan.model_validate_json(plans[piece.split])
    tally = Tally(rows=piece.rows, bucket_rows=[0] * plan.buckets)
    try:
        for run in _runs(_accepted(piece, plan, tally)):
            name = f"{piece.split}-{piece.first_row}-{len(tally.runs)}.arrow"
            with staged(place_of(work) / name) as path:
                counts = _write_run(path, run, plan.buckets)
            tally.bucket_rows = [a + b for a, b in zip(tally.bucket_rows, counts, strict=True)]
            tally.runs.append(name)
    except (UserError, OSError, pa.ArrowException) as error:
        tally.failure = str(error)
    return {"tally": tally.model_dump_json()}


def _accepted(piece: Piece, plan: SplitPlan, tally: Tally) -> Iterator[Placed]:
    where = places(plan, piece.first_row, piece.rows)
    for offset, row in enumerate(piece.read()):
        try:
            image = _checked(row, plan.short_side)
        except Rejected as reason:
            tally.rejects.append(Reject(row.name, str(reason)))
            continue
        _count(tally, row, image)
        position = piece.first_row + offset
        yield Placed(float(where[offset]), position, row.label, image, row.file)


def _checked(row: SourceRow, short_side: int | None) -> Checked:
    if row.problem:
        raise Rejected(row.problem)
    image = check_image(row.data)
    return image if short_side is None else shrunk(image, row.data or b"", short_side)


def _count(tally: Tally, row: SourceRow, image: Checked) -> None:
    tally.widths[image.width] += 1
    tally.heights[image.height] += 1
    if image.conversion:
        tally.converted[image.conversion] += 1
    if row.label is not None:
        tally.labels[row.label] += 1


def _runs(rows: Iterator[Placed]) -> Iterator[list[Placed]]:
    run: list[Placed] = []
    num_bytes = 0
    for row in rows:
        run.append(row)
        num_bytes += len(row.image.data)
        if num_bytes >= RUN_BYTES:
            yield run
            run, num_bytes = [], 0
    if run:
        yield run


def _write_run(path: Path, run: list[Placed], buckets: int) -> list[int]:
    """An Arrow file with a record batch for every bucket; returns the rows of each."""
    run = sorted(run)
    bounds = np.searchsorted([row.place * buckets for row in run], np.arange(buckets + 1))
    rows = _run_table(run).combine_chunks().to_batches()[0]
    temporary = path.with_suffix(".partial")
    with pa.ipc.new_file(temporary, rows.schema) as file:
        for start, stop in itertools.pairwise(bounds.tolist()):
            file.write_batch(rows.slice(start, stop - start))
    temporary.replace(path)
    return np.diff(bounds).tolist()


def _run_table(run: list[Placed]) -> pa.Table:
    table = table_of(
        [row.image.data for row in run],
        [row.label for row in run],
        [(row.image.width, row.image.height) for row in run],
        [row.name for row in run],
    )
    table = table.append_column("place", pa.array([row.place for row in run]))
    return table.append_column("position", pa.array([row.position for row in run]))


def write_bucket(item: dict[str, Any], folder: str, work: str) -> dict[str, Any]:
    """Round 2, a Ray task: one bucket of all runs becomes the shard `item["file"]` in `folder`."""
    try:
        rows = _bucket(place_of(work), item["runs"], item["bucket"])
        with staged(place_of(folder) / item["file"]) as path:
            entry, digests = write_shard(path, rows, first_id=item["first_id"])
    except (OSError, pa.ArrowException) as error:
        return {"entry": "", "digests": b"", "failure": str(error)}
    return {"entry": entry.model_dump_json(), "digests": digests, "failure": ""}


def _bucket(work: Place, runs: list[str], bucket: int) -> pa.Table:
    batches = []
    for run in runs:
        with mapped(work / run) as stream, pa.ipc.open_file(stream) as file:
            batches.append(file.get_batch(bucket))
    rows = pa.Table.from_batches(batches).combine_chunks()
    return rows.take(np.lexsort((rows["position"].to_numpy(), rows["place"].to_numpy())))
