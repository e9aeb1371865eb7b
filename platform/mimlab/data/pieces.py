"""What is imported: a list of pieces, each read by one task, and the rows that they give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mimlab.errors import UserError

MAX_LABEL = 1_000_000
"""Larger labels are hashes or mistakes, not classes."""

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation", "dev", "eval")
TEST = ("test", "testing")
SPLIT_NAMES = (*TRAIN, *VALIDATION, *TEST)


class SourceRow(NamedTuple):
    """One image as the source has it."""

    name: str
    """For people: file, or file and row."""
    data: bytes | None
    label: int | None
    problem: str = ""
    """Why there are no bytes, where the reason is known."""


class _Piece(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    split: int
    """Number of the split."""
    first_row: int
    """Row of the split that is this piece's first."""
    rows: int


class FilesPiece(_Piece):
    """Some image files of one split."""

    kind: Literal["files"] = "files"
    root: str
    files: list[str]
    labels: list[int] | None

    def read(self) -> Iterator[SourceRow]:
        labels = self.labels or [None] * len(self.files)
        for file, label in zip(self.files, labels, strict=True):
            try:
                yield SourceRow(file, Path(self.root, file).read_bytes(), label)
            except OSError as error:
                yield SourceRow(file, None, label, f"unreadable file ({error.strerror})")


class RowGroupPiece(_Piece):
    """One row group of a Parquet file."""

    kind: Literal["row group"] = "row group"
    root: str
    file: str
    row_group: int
    image: str
    """Name of the column."""
    label: str | None

    def read(self) -> Iterator[SourceRow]:
        columns = [self.image] if self.label is None else [self.image, self.label]
        # Mapped, and in small batches: a row group of the source may be larger than memory.
        with pq.ParquetFile(Path(self.root, self.file), memory_map=True) as parquet:
            position = 0
            for batch in parquet.iter_batches(64, [self.row_group], columns):
                for row in batch.to_pylist():
                    yield self._row(position, row)
                    position += 1

    def _row(self, position: int, row: dict) -> SourceRow:
        image = row[self.image]
        path = ""
        if isinstance(image, dict):
            path = f" ({image['path']})" if image.get("path") else ""
            image = image["bytes"]
        name = f"{self.file} row group {self.row_group} row {position}{path}"
        label = None if self.label is None else row[self.label]
        if label is not None and label > MAX_LABEL:
            raise UserError(f"{name}: column {self.label!r}: {label} is no class number")
        # -1 is how Hugging Face marks the rows of an unlabelled test split.
        return SourceRow(name, image, None if label is None or label < 0 else label)


Piece = Annotated[FilesPiece | RowGroupPiece, Field(discriminator="kind")]
PIECE: TypeAdapter[FilesPiece | RowGroupPiece] = TypeAdapter(Piece)


@dataclass(frozen=True)
class SourceSplit:
    """One split as found."""

    name: str
    rows: int
    bytes: int
    """Of the encoded images, about: it decides the number of shards."""


@dataclass(frozen=True)
class Source:
    """Everything that an import reads, listed but not read."""

    splits: list[SourceSplit]
    pieces: list[FilesPiece | RowGroupPiece]
    classes: list[str]
    """Names by label; empty if the source does not say."""
    ignored: int
    """Files that are no images by their name."""

    @property
    def rows(self) -> int:
        return sum(split.rows for split in self.splits)


def split_order(name: str) -> tuple[int, str]:
    """Sorts training before validation before test before anything else."""
    kinds = (TRAIN, VALIDATION, TEST)
    return next((rank for rank, kind in enumerate(kinds) if name in kind), len(kinds)), name


def classes_file(folder: Path) -> list[str]:
    """The lines of `classes.txt` in a folder; empty if there is none."""
    file = folder / "classes.txt"
    if not file.is_file():
        return []
    try:
        return [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as text ({error})") from error
