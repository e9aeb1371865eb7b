"""A data set on disk: Parquet shards and the manifest that says what they hold.

<root>/manifest.json                  written last: a folder without it is no data set
<root>/train-00000-of-00012.parquet   id, image, label, width, height, name
<root>/rejected.parquet               split, source, reason of what was not imported
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Literal

import numpy as np
from jaxtyping import Int64
from pydantic import ValidationError

from mimlab.data.fingerprint import combined, file_sha256, shard_digests, split_fingerprint
from mimlab.data.shard_files import Entry, ShardEntry, check_shards
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, place_of

FORMAT = "mimlab-shards"
VERSION = 2
"""1: the rows have no `name`, by which maps find their images."""
MANIFEST = "manifest.json"
REJECTED = "rejected.parquet"


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
    version: Literal[1, 2] = VERSION
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
            check_shards(
                root / MANIFEST, (s for split in data.manifest.splits for s in split.shards)
            )
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

    @property
    def named(self) -> bool:
        """Whether its rows have the names of the source's files."""
        return self.manifest.version >= 2

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
    if content.get("version") not in range(1, VERSION + 1):
        raise UserError(
            f"{file}: format version {content.get('version')!r}, but this mimlab reads "
            f"versions 1 to {VERSION}; import it again"
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
