"""Reading samples by row: the columns of row groups, from shards and what lies beside them.

Kept free of torch, because the processes that only read import it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from mimlab.data.damage import damage_told
from mimlab.data.manifest import Split
from mimlab.errors import UserError
from mimlab.storage.remote_path import RemotePath, opened, place_of

IMAGE_COLUMNS = ("id", "image", "label", "width", "height")


class GroupPlace(NamedTuple):
    """Where a row group lies: a file name that the shards and all their sidecars share."""

    file: str
    group: int
    """Number of the row group in that file."""


Kept = tuple[Int64[np.ndarray, " _"] | None, ...]
"""For each row group the rows to take of it, None being all; empty: all rows of every one."""


@dataclass(frozen=True)
class ColumnSource:
    """A folder of Parquet files aligned with the shards, and the columns to take from it."""

    root: str
    """An absolute path, or a URI that pyarrow knows."""
    columns: tuple[str, ...]
    sidecar: str = ""
    """Name that its columns then bear: `<name>.<column>`; empty for the shards themselves."""

    def read(self, places: Sequence[GroupPlace], kept: Kept = ()) -> pa.Table:
        """The kept rows of these row groups, in this order; each file is opened once.

        Raises UserError where a page is not what was written: pages of shards have checksums, but
        for those that an older version imported.
        """
        rows_of = dict(zip(places, kept, strict=False))
        root = place_of(self.root)
        # One request for the columns of a row group; a local file has nothing to wait for.
        elsewhere = isinstance(root, RemotePath)
        tables: dict[GroupPlace, pa.Table] = {}
        for name, members in itertools.groupby(sorted(places), key=lambda place: place.file):
            with opened(root / name) as stream:
                with damage_told(root / name, "its footer", self._remedy):
                    # A flipped bit is found by the page's checksum, where it has one.
                    file = pq.ParquetFile(
                        stream, pre_buffer=elsewhere, page_checksum_verification=True
                    )
                for place in members:
                    with damage_told(root / name, f"row group {place.group}", self._remedy):
                        group = file.read_row_group(place.group, columns=list(self.columns))
                    if (rows := rows_of.get(place)) is not None:
                        group = group.take(pa.array(rows))
                    tables[place] = group.cast(_wide(group.schema))
        return pa.concat_tables([tables[place] for place in places])

    @property
    def _remedy(self) -> str:
        """For a file that is damaged."""
        if self.sidecar:
            return "restore the file, or make what lies beside the images again"
        return (
            "restore the file, or import the data again; "
            f"`mimlab data inspect {self.root} --verify` checks every file"
        )

    def named(self, column: str) -> str:
        """What a column is called among those of all sources."""
        return f"{self.sidecar}.{column}" if self.sidecar else column


def images_of(split: Split) -> ColumnSource:
    """The shards themselves."""
    root = split.root.resolve() if isinstance(split.root, Path) else split.root
    return ColumnSource(str(root), IMAGE_COLUMNS)


def places_of(split: Split, groups: Int64[np.ndarray, " groups"]) -> tuple[GroupPlace, ...]:
    """Where row groups of a split lie."""
    located = [split.locate(int(group)) for group in groups]
    return tuple(GroupPlace(path.name, index) for path, index in located)


def kept_of(split: Split, groups: Int64[np.ndarray, " groups"]) -> Kept:
    """Which rows of these row groups the split consists of."""
    return tuple(split.kept(int(group)) for group in groups)


def read_groups(
    sources: Sequence[ColumnSource], places: Sequence[GroupPlace], kept: Kept = ()
) -> pa.Table:
    """The columns of all sources side by side, each column in one piece.

    Raises UserError where a sidecar's ids are not those of the first source; they are left out.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for source in sources:
        table = source.read(places, kept)
        if source.sidecar:
            _refuse_others(source, table["id"], columns["id"])
            table = table.drop_columns("id")
        columns |= {source.named(name): table[name] for name in table.column_names}
    return pa.table(columns).combine_chunks()


def _refuse_others(source: ColumnSource, ids: pa.ChunkedArray, samples: pa.ChunkedArray) -> None:
    if not ids.equals(samples):
        raise UserError(
            f"{source.root}: the sidecar {source.sidecar} has other samples than the images in the "
            "same rows: damaged or changed; import it again"
        )


def read_rows(
    split: Split, rows: Int64[np.ndarray, " rows"], sources: Sequence[ColumnSource] = ()
) -> pa.Table:
    """The given rows of a split in the given order; by default their images."""
    needed = NeededRows.of(split.rows_per_group, rows)
    places, kept = places_of(split, needed.groups), kept_of(split, needed.groups)
    table = read_groups(sources or [images_of(split)], places, kept)
    return table.take(pa.array(needed.positions))


def iter_rows(
    split: Split,
    rows: Int64[np.ndarray, " rows"],
    count: int,
    sources: Sequence[ColumnSource] = (),
) -> Iterator[pa.Table]:
    """The given rows in the given order, `count` at a time; by default their images."""
    for start in range(0, len(rows), count):
        yield read_rows(split, rows[start : start + count], sources)


class NeededRows(NamedTuple):
    """Rows of a split as positions in the concatenation of the row groups that hold them."""

    groups: Int64[np.ndarray, " groups"]
    positions: Int64[np.ndarray, " rows"]

    @classmethod
    def of(
        cls, rows_per_group: Int64[np.ndarray, " all_groups"], rows: Int64[np.ndarray, " rows"]
    ) -> NeededRows:
        ends = np.cumsum(rows_per_group)
        groups, place = np.unique(np.searchsorted(ends, rows, "right"), return_inverse=True)
        counts = rows_per_group[groups]
        shift = (ends[groups] - counts) - (np.cumsum(counts) - counts)
        return cls(groups, rows - shift[place])


def _wide(schema: pa.Schema) -> pa.Schema:
    """64-bit offsets: a window of images may exceed 2 GiB."""
    wide = {pa.binary(): pa.large_binary(), pa.string(): pa.large_string()}
    return pa.schema([field.with_type(wide.get(field.type, field.type)) for field in schema])
