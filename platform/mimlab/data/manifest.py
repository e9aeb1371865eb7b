"""A data set on disk: Parquet shards and the manifest that says what they hold.

<root>/manifest.json                  written last: a folder without it is no data set
<root>/train-00000-of-00012.parquet   id, image, label, width, height
<root>/rejected.parquet               split, source, reason of what was not imported
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mimlab.data.fingerprint import combined, file_sha256, shard_digests, split_fingerprint
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, opened, place_of

FORMAT = "mimlab-shards"
VERSION = 1
MANIFEST = "manifest.json"
REJECTED = "rejected.parquet"

CHECKS_AT_ONCE = 16
"""Footers of shards elsewhere that are read side by side."""


class Entry(BaseModel):
    """Base of what the manifest consists of."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ShardEntry(Entry):
    """One Parquet file."""

    file: str
    """Name within the data set's folder."""
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


class SplitEntry(Entry):
    """One split: its shards hold consecutive ids."""

    name: str
    rows: int
    fingerprint: str
    shards: list[ShardEntry]


class SizeRange(Entry):
    """Pixels."""

    min: int
    median: int
    max: int


class Manifest(Entry):
    """What `manifest.json` says."""

    format: Literal["mimlab-shards"] = FORMAT
    version: Literal[1] = VERSION
    fingerprint: str
    """Hash over split names and every row's id, image bytes and label."""
    images: int
    classes: list[str]
    """Names by label; empty where nothing is labelled."""
    splits: list[SplitEntry]
    width: SizeRange
    height: SizeRange
    seed: int
    """Of the permutation at import."""
    short_side: int | None = None
    """Pixels to which longer shorter sides were brought at import; null: images kept their size."""
    rejects: int
    """Images that were not imported; `rejected.parquet` names them."""
    converted: dict[str, int]
    """Images that were re-encoded at import, by reason."""
    ignored: int
    """Files of the source that are no images by their name."""


@dataclass(frozen=True)
class Shard:
    """Where a run of row groups lies."""

    path: Place
    first_group: int
    """Row group of the split that is this file's row group 0."""
    num_groups: int


@dataclass(frozen=True)
class Split:
    """One split as a reader sees it: row groups 0, 1, … over all its shards."""

    root: Place
    entry: SplitEntry
    first_id: int
    """Row r of the whole split has the id `first_id + r`."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def num_rows(self) -> int:
        return self.entry.rows

    @property
    def fingerprint(self) -> str:
        return self.entry.fingerprint

    @cached_property
    def rows_per_group(self) -> Int64[np.ndarray, " groups"]:
        return np.array([n for shard in self.entry.shards for n in shard.row_groups], np.int64)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        counts = [len(shard.row_groups) for shard in self.entry.shards]
        firsts = np.cumsum([0, *counts])
        return tuple(
            Shard(self.root / entry.file, int(first), count)
            for entry, first, count in zip(self.entry.shards, firsts, counts, strict=False)
        )

    def ids(self, rows: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        """The ids of rows."""
        return rows + self.first_id

    def kept(self, group: int) -> Int64[np.ndarray, " rows"] | None:
        """The rows of a row group that the split consists of, from 0; None: all."""
        del group
        return None

    def locate(self, group: int) -> tuple[Place, int]:
        """The file of a row group of the split and the row group's number in that file."""
        if not 0 <= group < len(self.rows_per_group):
            raise IndexError(f"split {self.name} has no row group {group}")
        firsts = [shard.first_group for shard in self.shards]
        shard = self.shards[int(np.searchsorted(firsts, group, "right")) - 1]
        return shard.path, group - shard.first_group


@dataclass(frozen=True)
class DataSet:
    """A checked data set."""

    root: Place
    manifest: Manifest

    @classmethod
    def open(cls, path: str | PathLike[str] | RemotePath, *, verify: bool = False) -> DataSet:
        """Read the manifest and hold it against the shards.

        Always checked: every shard is there, has the promised size and, by its Parquet footer, the
        promised rows and row groups. With `verify` also each file's hash and the fingerprint, which
        reads everything. Raises UserError.
        """
        root = place_of(path)
        try:
            data = cls(root, _read_manifest(root))
            _check_shards(data)
            if verify:
                _check_content(data)
        except RemoteError as error:
            raise UserError(str(error)) from error
        return data

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def classes(self) -> list[str]:
        return self.manifest.classes

    @cached_property
    def splits(self) -> dict[str, Split]:
        """By name, in the manifest's order."""
        entries = self.manifest.splits
        firsts = np.cumsum([0, *(entry.rows for entry in entries)])
        return {
            entry.name: Split(self.root, entry, int(first))
            for entry, first in zip(entries, firsts, strict=False)
        }

    def split(self, name: str) -> Split:
        """Raises UserError if there is none of that name."""
        if name not in self.splits:
            raise UserError(
                f"{self.root}: no split named {name!r}; it has {', '.join(self.splits)}"
            )
        return self.splits[name]


def _read_manifest(root: Place) -> Manifest:
    file = root / MANIFEST
    if not file.is_file():
        raise UserError(_no_manifest(root))
    try:
        content = json.loads(file.read_bytes())
    except RemoteError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); import it again") from error
    return _parse_manifest(file, content)


def _no_manifest(root: Place) -> str:
    if isinstance(root, RemotePath):
        if not root.top.exists():
            return f"{root}: there is no such bucket; make it, or correct its name"
    elif not root.exists():
        return f"{root}: no such folder; expected a data set made by `mimlab data import`"
    return (
        f"{root}: no {MANIFEST}, so this is not a data set; "
        "make one with `mimlab data import SOURCE --to DIR`"
    )


def _parse_manifest(file: Place, content: object) -> Manifest:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: not the manifest of a mimlab data set (no format {FORMAT!r})")
    if content.get("version") != VERSION:
        raise UserError(
            f"{file}: format version {content.get('version')!r}, but this mimlab reads "
            f"version {VERSION}; import it again"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {where}: {first['msg']}; import it again") from error
    _check_sums(file, manifest)
    return manifest


def _check_sums(file: Place, manifest: Manifest) -> None:
    """The manifest must agree with itself before it is held against the files."""
    for split in manifest.splits:
        if split.rows != sum(shard.rows for shard in split.shards):
            raise UserError(f"{file}: split {split.name}: its shards do not add up to its rows")
        for shard in split.shards:
            if shard.rows != sum(shard.row_groups):
                raise UserError(f"{file}: {shard.file}: its row groups do not add up to its rows")
    if manifest.images != sum(split.rows for split in manifest.splits):
        raise UserError(f"{file}: the splits do not add up to {manifest.images} images")


def _check_shards(data: DataSet) -> None:
    shards = [shard for split in data.manifest.splits for shard in split.shards]
    check = partial(_check_shard, data.root)
    if isinstance(data.root, Path):
        for shard in shards:
            check(shard)
        return
    # A request takes as long as thousands of local files.
    with ThreadPoolExecutor(CHECKS_AT_ONCE) as threads:
        for _ in threads.map(check, shards):
            pass


def _check_shard(root: Place, shard: ShardEntry) -> None:
    path = root / shard.file
    try:
        with opened(path) as file:
            size = file.size()
            if size != shard.bytes:
                raise UserError(
                    f"{path}: {size} bytes where {MANIFEST} says {shard.bytes}: "
                    "cut short or changed; import it again"
                )
            groups = _rows_of_groups(path, file)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: missing, although {MANIFEST} lists it; import it again"
        ) from error
    if groups != shard.row_groups:
        raise UserError(
            f"{path}: {sum(groups)} rows in {len(groups)} row groups where {MANIFEST} says "
            f"{shard.rows} in {len(shard.row_groups)}; import it again"
        )


def _rows_of_groups(path: Place, file: pa.NativeFile) -> list[int]:
    try:
        footer = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); import it again") from error
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def _check_content(data: DataSet) -> None:
    for split in data.splits.values():
        for entry, shard in zip(split.entry.shards, split.shards, strict=True):
            if file_sha256(shard.path) != entry.sha256:
                raise UserError(
                    f"{shard.path}: its content is not what {MANIFEST} says (sha256 differs): "
                    "damaged or changed; import it again"
                )
        found = split_fingerprint(_digests(split))
        if found != split.fingerprint:
            raise UserError(f"{data.root}: split {split.name}: its rows give fingerprint {found}")
    named = [(split.name, split.num_rows, split.fingerprint) for split in data.splits.values()]
    if combined(named) != data.fingerprint:
        raise UserError(f"{data.root}: the splits do not give the fingerprint of {MANIFEST}")


def _digests(split: Split) -> Iterator[bytes]:
    for shard in split.shards:
        yield from shard_digests(shard.path)
