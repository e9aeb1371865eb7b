"""Parts of a split that are worked on as one, and lost as one by a kill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from mimlab.data.manifest import Split
from mimlab.data.reader import IMAGE_COLUMNS, ColumnSource, GroupPlace
from mimlab.data.shard_files import Entry

PIECE_ROWS = 1024
"""Images of a piece, unless a row group is larger."""


class SplitPiece(Entry):
    """The first rows of some row groups of one shard, all but for the last of them whole."""

    file: str
    first_group: int
    groups: int
    first_row: int
    """Row of the split."""
    rows: int

    @property
    def name(self) -> str:
        """No other piece's."""
        return f"{self.first_row:010d}-{self.rows}"

    def read(self, root: str) -> pa.Table:
        """The columns of its images, each in one piece."""
        numbers = range(self.first_group, self.first_group + self.groups)
        places = [GroupPlace(self.file, number) for number in numbers]
        table = ColumnSource(root, IMAGE_COLUMNS).read(places)
        return table.slice(0, self.rows).combine_chunks()


def runs_of(row_groups: Sequence[int], rows: int) -> Iterator[range]:
    """The row groups of a shard, in runs of at most so many rows, or of one that has more."""
    first = 0
    while first < len(row_groups):
        end = first + 1
        while end < len(row_groups) and sum(row_groups[first : end + 1]) <= rows:
            end += 1
        yield range(first, end)
        first = end


def pieces_of(split: Split, images: int, rows: int = PIECE_ROWS) -> Iterator[SplitPiece]:
    """The first so many images of a split, in pieces of about so many rows."""
    first_row = 0
    for shard in split.entry.shards:
        for groups in runs_of(shard.row_groups, rows):
            if first_row == images:
                return
            held = sum(shard.row_groups[groups.start : groups.stop])
            count = min(held, images - first_row)
            yield SplitPiece(
                file=shard.file,
                first_group=groups.start,
                groups=len(groups),
                first_row=first_row,
                rows=count,
            )
            first_row += count
