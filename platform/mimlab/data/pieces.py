"""What is imported: a list of pieces, each read by one task, and the rows that they give."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, mapped, place_of

MAX_LABEL = 1_000_000
"""Larger labels are hashes or mistakes, not classes."""

PIECE_FILES = 4096
PIECE_BYTES = 64 << 20
"""A task reads about this much: small enough to spread, large enough to be worth a task."""

BUFFER_BYTES = 1 << 20
"""Of a tar elsewhere that are read at once."""

GZIP_SUFFIXES = (".gz", ".tgz")

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
    file: str | None = None
    """Path of its own file, below the source or in its tar; None where it has none."""


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
                data = (place_of(self.root) / file).read_bytes()
                yield SourceRow(file, data, label, file=file)
            except RemoteError:
                # A network that fails says nothing of the image.
                raise
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
        with (
            mapped(place_of(self.root) / self.file) as stream,
            pq.ParquetFile(stream) as parquet,
        ):
            position = 0
            for batch in parquet.iter_batches(64, [self.row_group], columns):
                for row in batch.to_pylist():
                    yield self._row(position, row)
                    position += 1

    def _row(self, position: int, row: dict) -> SourceRow:
        image = row[self.image]
        path = None
        if isinstance(image, dict):
            path, image = image.get("path") or None, image["bytes"]
        name = f"{self.file} row group {self.row_group} row {position}"
        name += f" ({path})" if path else ""
        label = None if self.label is None else row[self.label]
        if label is not None and label > MAX_LABEL:
            raise UserError(f"{name}: column {self.label!r}: {label} is no class number")
        # -1 is how Hugging Face marks the rows of an unlabelled test split.
        return SourceRow(name, image, None if label is None or label < 0 else label, file=path)


class TarPiece(_Piece):
    """Some images of one tar."""

    kind: Literal["tar"] = "tar"
    root: str
    file: str
    images: list[str]
    """Names within the tar."""
    offsets: list[int]
    """Where each begins in the tar, decompressed; ascending."""
    sizes: list[int]
    labels: list[int | None]

    def read(self) -> Iterator[SourceRow]:
        columns = zip(self.images, self.offsets, self.sizes, self.labels, strict=True)
        with open_tar(place_of(self.root) / self.file) as stream:
            for image, offset, size, label in columns:
                stream.seek(offset)
                data = stream.read(size)
                if len(data) < size:
                    raise UserError(f"{self.file}: changed while it was imported")
                yield SourceRow(f"{self.file}/{image}", data, label, file=image)


def open_tar(path: Place) -> io.BufferedIOBase:
    """The bytes of a tar, decompressed as they are read."""
    compressed = path.name.lower().endswith(GZIP_SUFFIXES)
    if isinstance(path, Path):
        return gzip.open(path) if compressed else path.open("rb")
    # Each read is a request, and headers are small.
    file = _buffered(path.open_input())
    return gzip.open(file) if compressed else file


def _buffered(file: pa.NativeFile) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, file), BUFFER_BYTES)


Piece = FilesPiece | RowGroupPiece | TarPiece
PIECE: TypeAdapter[Piece] = TypeAdapter(Annotated[Piece, Field(discriminator="kind")])


def cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Bounds of pieces of files that have these bytes."""
    start = num_bytes = 0
    for stop, size in enumerate(sizes, start=1):
        num_bytes += size
        if stop - start == PIECE_FILES or num_bytes >= PIECE_BYTES or stop == len(sizes):
            yield start, stop
            start, num_bytes = stop, 0


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
    pieces: list[Piece]
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


def classes_file(folder: Place) -> list[str]:
    """The lines of `classes.txt` in a folder; empty if there is none."""
    file = folder / "classes.txt"
    if not file.is_file():
        return []
    try:
        return [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as text ({error})") from error
