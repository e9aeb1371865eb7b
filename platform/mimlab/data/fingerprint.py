"""The fingerprint of a data set: what its rows say, whatever files hold them.

row    = sha256(id as int64 LE, label as int64 LE with -1 for none, image bytes)
split  = sha256(row digests in the order of ids)
data   = sha256(a line `name rows split-fingerprint` for each split)

A row of a token store is sha256(id as int64 LE, the bytes of its views).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from mimlab.storage.remote_path import Place, opened

READ_BYTES = 1 << 20


def row_digests(rows: pa.Table) -> bytes:
    """The digests of the rows, one behind the other. Reads `id`, `label` and `image`."""
    columns = zip(
        rows["id"].to_pylist(), rows["label"].to_pylist(), rows["image"].to_pylist(), strict=True
    )
    return b"".join(
        hashlib.sha256(struct.pack("<qq", id_, -1 if label is None else label) + image).digest()
        for id_, label, image in columns
    )


def stored_digests(rows: pa.Table) -> bytes:
    """The same of rows of a token store: `id`, and every other column in its order."""
    columns = [rows[name].to_pylist() for name in rows.column_names if name != "id"]
    return b"".join(
        hashlib.sha256(struct.pack("<q", id_) + b"".join(views)).digest()
        for id_, *views in zip(rows["id"].to_pylist(), *columns, strict=True)
    )


def shard_digests(path: Place) -> Iterator[bytes]:
    """Row digests of a shard, a row group at a time."""
    with opened(path) as stream, pq.ParquetFile(stream) as file:
        for group in range(file.num_row_groups):
            yield row_digests(file.read_row_group(group, columns=["id", "label", "image"]))


def split_fingerprint(digests: Iterable[bytes]) -> str:
    """The fingerprint of a split from its row digests, which may come in pieces of any size."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(digest)
    return whole.hexdigest()


def combined(splits: Iterable[tuple[str, int, str]]) -> str:
    """The fingerprint of a data set from (name, rows, fingerprint) of its splits."""
    lines = [f"{name} {rows} {fingerprint}\n" for name, rows, fingerprint in splits]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Place) -> str:
    """Reads the file a piece at a time."""
    whole = hashlib.sha256()
    with opened(path) as file:
        while piece := file.read(READ_BYTES):
            whole.update(piece)
    return whole.hexdigest()
