"""What is to be encoded, exactly: two encodings of one plan may share their work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import DataSet
from mimlab.data.shard_files import Entry, ShardEntry
from mimlab.data.sidecar import VIEW_COLUMN, StoredEncoder, StoredViews
from mimlab.data.views import renderer
from mimlab.storage.remote_path import Place
from mimlab.tokens.packing import StoredType, bytes_of, type_of_codes
from mimlab.tokens.pieces import runs_of
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder, patch_encoders

PIECE_ROWS = 2048
"""Images that are encoded, and lost by a kill, as one: a shard, or a part of a larger one."""


class ViewsAsked(BaseModel):
    """Which views are encoded, and are then trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    image_size: int = Field(ge=1)
    """Side in pixels of the views that train on them."""
    augment: AugmentConfig = AugmentConfig()
    """Their crop and flip."""
    count: int = Field(default=1, ge=1)
    """Views of an image; an epoch uses number epoch mod count."""
    seed: int = 0
    """Of crops and flips."""


class Piece(Entry):
    """Row groups of one shard."""

    split: str
    file: str
    first_group: int
    row_groups: list[int]
    """Rows of each."""
    whole: bool
    """Whether it is all of the shard."""

    @property
    def rows(self) -> int:
        return sum(self.row_groups)

    @property
    def name(self) -> str:
        """No other piece's."""
        last = self.first_group + len(self.row_groups) - 1
        return f"{self.file.removesuffix('.parquet')}.{self.first_group:05d}-{last:05d}"

    def target(self, out: Place, work: Place) -> Place:
        """Its file: the shard itself, or a part that is joined to others later."""
        return out / self.file if self.whole else work / f"{self.name}.parquet"


class EncodingPlan(Entry):
    """Everything that decides what a store holds."""

    version: Literal[1] = 1
    images: str
    """Fingerprint of the data set."""
    splits: list[str]
    kind: EncodedKind
    dtype: StoredType
    shape: tuple[int, ...]
    """Of one view."""
    views: StoredViews
    encoder: StoredEncoder
    encoder_sha256: str
    """Hash over the files of the saved encoder."""

    @classmethod
    def of(
        cls,
        encoder: PatchEncoder,
        encoder_sha256: str,
        data: DataSet,
        splits: Sequence[str],
        asked: ViewsAsked,
    ) -> EncodingPlan:
        """The plan of encoding these splits. Raises UserError where there is no such split."""
        codes = encoder.kind == "codes"
        tokens = encoder.grid[0] * encoder.grid[1]
        return cls(
            images=data.fingerprint,
            splits=[data.split(name).name for name in splits],
            kind=encoder.kind,
            dtype=type_of_codes(encoder.width) if codes else "float16",
            shape=(tokens,) if codes else (tokens, encoder.width),
            views=StoredViews(**dict(asked), renderer=renderer()),
            encoder=StoredEncoder(
                label=encoder.label,
                part=patch_encoders.name_of(encoder),
                weights_sha256=encoder.weights_sha256(),
                width=encoder.width,
                size=encoder.size,
                grid=encoder.grid,
            ),
            encoder_sha256=encoder_sha256,
        )

    @property
    def row_schema(self) -> pa.Schema:
        """Of the store's files."""
        view = pa.binary(bytes_of(self.dtype, self.shape))
        names = [VIEW_COLUMN.format(number) for number in range(self.views.count)]
        fields = [pa.field(name, view, nullable=False) for name in names]
        return pa.schema([pa.field("id", pa.int64(), nullable=False), *fields])

    def pieces(self, data: DataSet, rows: int = PIECE_ROWS) -> Iterator[Piece]:
        """What is encoded as one, of up to so many rows, in the order of ids."""
        for split in self.splits:
            for shard in data.split(split).entry.shards:
                yield from _cut(split, shard, rows)


def _cut(split: str, shard: ShardEntry, rows: int) -> Iterator[Piece]:
    for groups in runs_of(shard.row_groups, rows):
        yield Piece(
            split=split,
            file=shard.file,
            first_group=groups.start,
            row_groups=shard.row_groups[groups.start : groups.stop],
            whole=len(groups) == len(shard.row_groups),
        )
