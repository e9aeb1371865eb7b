"""The Parquet files that a manifest lists, and whether they are what it says."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, field_validator

from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, opened

CHECKS_AT_ONCE = 16
"""Footers of shards elsewhere that are read side by side."""


def shard_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes one file of a data set or a sidecar.

    Encoded images, maps and codes do not compress, have no use for a dictionary, and would swell
    the footer; a checksum in each page tells a flipped bit.
    """
    return pq.ParquetWriter(
        path,
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


class Entry(BaseModel):
    """Base of what a manifest consists of."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ShardEntry(Entry):
    """One Parquet file."""

    file: str
    """Name within the manifest's folder."""
    rows: int
    row_groups: list[int]
    """Rows of every row group."""
    bytes: int
    sha256: str

    @field_validator("file")
    @classmethod
    def _stays_inside(cls, file: str) -> str:
        if PurePosixPath(file).name != file:
            raise ValueError("a shard is named by a file name without folders")
        return file


def check_shards(
    manifest: Place, shards: Iterable[ShardEntry], remedy: str = "import it again"
) -> None:
    """Hold the shards that the file `manifest` lists against what it says of them.

    Each must lie beside it, have the promised size and, by its footer, the promised row groups.
    Raises UserError, which ends with the remedy.
    """
    check = partial(_check_shard, manifest, remedy=remedy)
    if isinstance(manifest, Path):
        for shard in shards:
            check(shard)
        return
    # A request takes as long as thousands of local files.
    with ThreadPoolExecutor(CHECKS_AT_ONCE) as threads:
        for _ in threads.map(check, shards):
            pass


def _check_shard(manifest: Place, shard: ShardEntry, *, remedy: str) -> None:
    path = manifest.parent / shard.file
    try:
        with opened(path) as file:
            size = file.size()
            if size != shard.bytes:
                raise UserError(
                    f"{path}: {size} bytes where {manifest.name} says {shard.bytes}: "
                    f"cut short or changed; {remedy}"
                )
            groups = _rows_of_groups(path, file, remedy)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing, although {manifest.name} lists it; {remedy}") from error
    if groups != shard.row_groups:
        raise UserError(
            f"{path}: {sum(groups)} rows in {len(groups)} row groups where {manifest.name} says "
            f"{shard.rows} in {len(shard.row_groups)}; {remedy}"
        )


def _rows_of_groups(path: Place, file: pa.NativeFile, remedy: str) -> list[int]:
    try:
        footer = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); {remedy}") from error
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
