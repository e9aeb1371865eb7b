"""Encoding pieces of a data set, in the process of an actor: from encoded images to a file."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Shaped
from torch import Tensor

from mimlab.data.fingerprint import file_sha256, stored_digests
from mimlab.data.publishing import sync_file, write_whole
from mimlab.data.reader import IMAGE_COLUMNS, ColumnSource, GroupPlace
from mimlab.data.shard_files import Entry, shard_writer
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, place_of, staged
from mimlab.tokens.batches import Batches
from mimlab.tokens.packing import packed
from mimlab.tokens.pixels import Pixels, recorded, rendered
from mimlab.tokens.plan import EncodingPlan, Piece
from mimlab_objectives.tokenizers.base import PatchEncoder

PENDING = 1
"""Chunks whose codes are fetched only when the next one is on the device."""


class PieceRecord(Entry):
    """What became of a piece; its presence says that the piece is done, and on disk."""

    bytes: int
    sha256: str
    digests: str
    """Of its rows, hexadecimal."""
    missing: int
    """Images that could not be read."""


def record_place(work: Place, piece: Piece) -> Place:
    """Where the record of a piece lies."""
    return work / f"{piece.name}.json"


@dataclass(frozen=True)
class Job:
    """What every piece of an encoding needs to know; goes to other processes."""

    plan: EncodingPlan
    images: str
    """The data set's folder, an absolute path or a URI."""
    out: str
    work: str
    threads: int
    """That decode, and of PyTorch."""
    batch: int | None
    """Images encoded at once; None: found out."""


class PieceWorker:
    """An actor of the pool: keeps the encoder on its device from piece to piece."""

    def __init__(self, job: Job, load: Callable[[], PatchEncoder]) -> None:
        # The pool of threads uses the cores; OpenCV's own would only contend with it.
        cv2.setNumThreads(0)
        torch.set_num_threads(job.threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._job = job
        self._batches = Batches(load(), device, job.batch)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Encode `piece`; gives its `rows`, or why there is no record of it (`failure`)."""
        piece = Piece.model_validate_json(item["piece"])
        try:
            record = encode_piece(self._job, piece, self._batches)
        except (UserError, OSError) as error:
            return {**item, "rows": 0, "failure": str(error)}
        place = record_place(place_of(self._job.work), piece)
        write_whole(place, record.model_dump_json().encode())
        return {**item, "rows": piece.rows, "failure": ""}


def encode_piece(job: Job, piece: Piece, batches: Batches) -> PieceRecord:
    """Write the file of a piece. Raises UserError where its values do not fit the store."""
    plan, work = job.plan, place_of(job.work)
    chunk = max(1, batches.size // plan.views.count)
    tables = _row_groups(job.images, piece)
    pixels = rendered(
        tables, recorded(plan.views), plan.encoder.size, chunk=chunk, threads=job.threads
    )
    digests, missing = [], 0
    with (
        whole(piece.target(place_of(job.out), work), work) as path,
        shard_writer(path, plan.row_schema) as writer,
    ):
        encoded = _encoded(pixels, batches, plan)
        for rows in piece.row_groups:
            table, failed = _row_group(encoded, rows)
            writer.write_table(table, row_group_size=rows)
            digests.append(stored_digests(table).hex())
            missing += failed
        writer.close()
        return PieceRecord(
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
            digests="".join(digests),
            missing=missing,
        )


@contextmanager
def whole(target: Place, work: Place) -> Iterator[Path]:
    """A local path to write, which becomes the target, whole and on disk, if the block ends."""
    if not isinstance(target, Path) or not isinstance(work, Path):
        with staged(target) as path:
            yield path
        return
    temporary = work / f".{target.name}.{uuid.uuid4().hex}"
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _row_groups(images: str, piece: Piece) -> Iterator[pa.Table]:
    source = ColumnSource(images, IMAGE_COLUMNS)
    for number in range(len(piece.row_groups)):
        place = GroupPlace(piece.file, piece.first_group + number)
        yield source.read([place]).combine_chunks()


def _row_group(chunks: Iterator[tuple[pa.Table, int]], rows: int) -> tuple[pa.Table, int]:
    """The next chunks, which together have so many rows; how many of these are missing."""
    tables, missing = [], 0
    while sum(table.num_rows for table in tables) < rows:
        table, failed = next(chunks)
        tables.append(table)
        missing += failed
    return pa.concat_tables(tables).combine_chunks(), missing


def _encoded(
    chunks: Iterable[Pixels], batches: Batches, plan: EncodingPlan
) -> Iterator[tuple[pa.Table, int]]:
    """Rows of the store, and how many of them could not be read."""
    pending: deque[tuple[Pixels, Tensor]] = deque()
    for pixels in chunks:
        flat = pixels.views.reshape(-1, *pixels.views.shape[2:])
        pending.append((pixels, batches.run(flat)))
        if len(pending) > PENDING:
            yield _rows(*pending.popleft(), plan)
    while pending:
        yield _rows(*pending.popleft(), plan)


def _rows(pixels: Pixels, encoded: Tensor, plan: EncodingPlan) -> tuple[pa.Table, int]:
    values = encoded.cpu().numpy()
    expected = (pixels.views.shape[0] * plan.views.count, *plan.shape)
    if values.shape != expected:
        raise UserError(
            f"{plan.encoder.label}: gave values of shape {values.shape}, expected {expected}"
        )
    values = values.reshape(len(pixels.ids), plan.views.count, *plan.shape)
    stored = _stored(values, plan)
    stored[pixels.unreadable] = 0
    columns = [packed(stored[:, view], plan.dtype) for view in range(plan.views.count)]
    table = pa.table([pa.array(pixels.ids), *columns], schema=plan.row_schema)
    return table, len(pixels.unreadable)


def _stored(values: np.ndarray, plan: EncodingPlan) -> Shaped[np.ndarray, "images views ..."]:
    """As the store's type, which must hold them."""
    if plan.kind == "codes":
        if values.min() < 0 or values.max() >= plan.encoder.width:
            raise UserError(
                f"{plan.encoder.label}: gave codes from {values.min()} to {values.max()}, but its "
                f"vocabulary is {plan.encoder.width}"
            )
        return values.astype(plan.dtype)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise UserError(
            f"{plan.encoder.label}: gave features up to {np.abs(values).max():g}, which float16 "
            "does not hold; normalise them"
        )
    return halves
