"""From the pieces of an encoding to the store: shards, the encoder, and last the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from mimlab.data.fingerprint import file_sha256, split_fingerprint
from mimlab.data.manifest import DataSet, Split, SplitEntry
from mimlab.data.publishing import sync_folder, write_whole
from mimlab.data.shard_files import ShardEntry, shard_writer
from mimlab.data.sidecar import SIDECAR, Maker, SidecarManifest, fingerprint_of
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, opened
from mimlab.tokens.names import ENCODER, WEIGHTS
from mimlab.tokens.plan import Piece
from mimlab.tokens.unfinished import Unfinished
from mimlab.tokens.worker import PieceRecord, whole


def finish(store: Unfinished, data: DataSet, saved: Place) -> None:
    """Make it a store; may be done again after a kill. `saved` is the folder of its encoder."""
    plan, records = store.plan, store.done()
    if lost := [piece.name for piece in store.pieces if piece.name not in records]:
        raise UserError(
            f"{store.out}: the piece {lost[0]} is not there. If another machine wrote it, name a "
            "folder that all machines see, or a URI; else run the same again"
        )
    splits = [_split(store, data.split(name), records) for name in plan.splits]
    for name in (ENCODER, WEIGHTS):
        with whole(store.out / name, store.work) as path:
            path.write_bytes((saved / name).read_bytes())
    manifest = SidecarManifest(
        fingerprint=fingerprint_of(splits, plan.views, plan.encoder),
        images=data.fingerprint,
        kind=plan.kind,
        dtype=plan.dtype,
        shape=plan.shape,
        num_classes=None,
        maker=Maker(text=f"encoded by {plan.encoder.label}", sha256=plan.encoder_sha256),
        missing=sum(record.missing for record in records.values()),
        splits=splits,
        views=plan.views,
        encoder=plan.encoder,
    )
    if isinstance(store.out, Path):
        # The shards' names must be on disk before the file that says that they are there.
        sync_folder(store.out)
    write_whole(store.out / SIDECAR, manifest.model_dump_json(indent=1).encode() + b"\n")


def _split(store: Unfinished, split: Split, records: Mapping[str, PieceRecord]) -> SplitEntry:
    pieces = [piece for piece in store.pieces if piece.split == split.name]
    shards = [
        _shard(store, entry, [piece for piece in pieces if piece.file == entry.file], records)
        for entry in split.entry.shards
    ]
    digests = (bytes.fromhex(records[piece.name].digests) for piece in pieces)
    fingerprint = split_fingerprint(digests)
    return SplitEntry(name=split.name, rows=split.num_rows, fingerprint=fingerprint, shards=shards)


def _shard(
    store: Unfinished,
    entry: ShardEntry,
    pieces: Sequence[Piece],
    records: Mapping[str, PieceRecord],
) -> ShardEntry:
    """Entry of a shard, which is a piece already, or is joined from several now."""
    if pieces[0].whole:
        record = records[pieces[0].name]
        size, sha256 = record.bytes, record.sha256
    else:
        with whole(store.out / entry.file, store.work) as path:
            _join(path, store, pieces)
            size, sha256 = path.stat().st_size, file_sha256(path)
    return entry.model_copy(update={"bytes": size, "sha256": sha256})


def _join(path: Path, store: Unfinished, pieces: Sequence[Piece]) -> None:
    with shard_writer(path, store.plan.row_schema) as writer:
        for piece in pieces:
            with opened(piece.target(store.out, store.work)) as stream:
                file = pq.ParquetFile(stream)
                for group, rows in enumerate(piece.row_groups):
                    writer.write_table(file.read_row_group(group), row_group_size=rows)
