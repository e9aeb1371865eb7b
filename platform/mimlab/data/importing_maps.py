"""Import of maps: from a file for each image to a sidecar of a data set."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mimlab.data.fingerprint import combined, file_sha256, split_fingerprint
from mimlab.data.manifest import DataSet, Shard, Split, SplitEntry
from mimlab.data.map_files import Matches, match_maps
from mimlab.data.map_pixels import NO_CLASS, encode_map, map_digest, pixels_digest, read_map
from mimlab.data.publishing import commit, publishing_at, sync_file
from mimlab.data.shard_files import ShardEntry, shard_writer
from mimlab.data.sidecar import SIDECAR, Maker, MapKind, Sidecar, SidecarManifest
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, opened, place_of, staged

THREADS = min(32, 2 * (os.cpu_count() or 1))
"""They decode and encode outside of Python's lock, and wait for files elsewhere."""

MAX_MISSING_SHARE = 0.01

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("map", pa.binary())])

Progress = Callable[[int, int], None]
"""Takes (images done, images)."""


class Imported(NamedTuple):
    """A new sidecar, and what was left aside."""

    sidecar: Sidecar
    unused: list[str]
    """Files of the folder that are no image's."""


def import_maps(
    folder: str | PathLike[str] | RemotePath,
    dataset: str | PathLike[str] | RemotePath,
    out: str | PathLike[str] | RemotePath,
    *,
    kind: MapKind,
    made_by: str = "",
    allow_missing: bool = False,
    on_progress: Progress | None = None,
) -> Imported:
    """Import the maps in `folder` as the sidecar `out` of a data set.

    Maps find their images by name (`match_maps`); where more than 1 % of the images have none, that
    is refused unless `allow_missing`. Holds a row group of maps at once. `made_by` says in words
    what made them. All three places are paths or URIs. Raises UserError; whatever happens, `out` is
    either a whole sidecar or none.
    """
    source, target = _absolute(folder), _absolute(out)
    data = DataSet.open(dataset)
    try:
        matches = match_maps(source, data)
    except RemoteError as error:
        raise UserError(str(error)) from error
    _refuse_missing(source, data, matches, allow=allow_missing)
    with publishing_at(target, SIDECAR) as unfinished, ThreadPoolExecutor(THREADS) as threads:
        done = itertools.count(1)
        step = (lambda: on_progress(next(done), data.manifest.images)) if on_progress else None
        writing = _Writing(source, kind, unfinished, threads, step)
        splits = [writing.split(split, matches.files[split.name]) for split in data.splits.values()]
        manifest = SidecarManifest(
            fingerprint=combined((split.name, split.rows, split.fingerprint) for split in splits),
            images=data.fingerprint,
            kind=kind,
            dtype="uint8" if kind == "labels_map" else "float32",
            shape=writing.shape,
            num_classes=writing.num_classes(),
            maker=Maker(text=made_by or f"imported from {source}", sha256=writing.made.hex()),
            missing=matches.missing.total(),
            splits=splits,
        )
        commit(unfinished / SIDECAR, manifest.model_dump_json(indent=1).encode() + b"\n")
    return Imported(Sidecar.open(out, data), matches.unused)


def _absolute(where: str | PathLike[str] | RemotePath) -> Place:
    place = place_of(where)
    return place.absolute() if isinstance(place, Path) else place


def _refuse_missing(source: Place, data: DataSet, matches: Matches, *, allow: bool) -> None:
    missing, images = matches.missing.total(), data.manifest.images
    if missing < images and (allow or missing <= MAX_MISSING_SHARE * images):
        return
    by_split = ", ".join(
        f"{count} of {data.split(name).num_rows} in {name}"
        for name, count in matches.missing.items()
        if count
    )
    unused = f"; of no image are {', '.join(matches.unused[:3])}" if matches.unused else ""
    remedy = "a map is called as its image's file, with .png or .npy for its extension"
    if missing < images:
        remedy += "; add the missing ones, or go without them with --allow-missing"
    raise UserError(
        f"{source}: no map for {missing} of {images} images ({by_split}), such as "
        f"{', '.join(matches.examples[:3])}{unused}; {remedy}"
    )


class _Row(NamedTuple):
    """An image's map, or that it has none."""

    encoded: bytes | None
    digest: bytes
    size: tuple[int, int] | None = None
    """(height, width)"""
    highest: int = -1
    """Highest label; −1 where no pixel has one."""
    made_of: bytes = b""
    """Hash of the file."""


@dataclass
class _Writing:
    """The shards of a sidecar as they are written, and what their maps come to."""

    source: Place
    kind: MapKind
    out: Place
    threads: ThreadPoolExecutor
    step: Callable[[], None] | None
    made: bytes = b""
    """Hash of the files so far, each hashed on top of those before."""
    sizes: set[tuple[int, int]] = field(default_factory=set)
    highest: int = -1

    @property
    def shape(self) -> tuple[int, int] | None:
        """The size of all maps, if they share one."""
        return next(iter(self.sizes)) if len(self.sizes) == 1 else None

    def num_classes(self) -> int | None:
        """None where there are no labels. Raises UserError where no pixel has one."""
        if self.kind == "map":
            return None
        if self.highest < 0:
            raise UserError(f"{self.source}: no pixel has a class; all are {NO_CLASS}")
        return self.highest + 1

    def split(self, split: Split, files: Sequence[Sequence[str | None]]) -> SplitEntry:
        """Write the shards of a split; `files` names the map of every row of each."""
        shards, digests = [], []
        for shard, entry, names in zip(split.shards, split.entry.shards, files, strict=True):
            with staged(self.out / entry.file) as path:
                digests.append(b"".join(self._shard(path, shard, names)))
                sync_file(path)
                shards.append(
                    ShardEntry(
                        file=entry.file,
                        rows=entry.rows,
                        row_groups=entry.row_groups,
                        bytes=path.stat().st_size,
                        sha256=file_sha256(path),
                    )
                )
        fingerprint = split_fingerprint(digests)
        return SplitEntry(
            name=split.name, rows=split.num_rows, fingerprint=fingerprint, shards=shards
        )

    def _shard(self, path: Path, shard: Shard, files: Sequence[str | None]) -> Iterator[bytes]:
        """Write one file; gives the digest of each row."""
        rest = iter(files)
        with (
            opened(shard.path) as stream,
            pq.ParquetFile(stream) as images,
            shard_writer(path, SCHEMA) as maps,
        ):
            for group in range(images.num_row_groups):
                table = images.read_row_group(group, columns=["id", "width", "height"])
                columns = [table[name].to_pylist() for name in ("id", "width", "height")]
                names = itertools.islice(rest, table.num_rows)
                rows = []
                for row in self.threads.map(self._row, *columns, names):
                    self._note(row)
                    rows.append(row)
                    yield row.digest
                encoded = pa.array([row.encoded for row in rows], pa.binary())
                maps.write_table(pa.table([table["id"], encoded], SCHEMA), table.num_rows)

    def _row(self, sample_id: int, width: int, height: int, file: str | None) -> _Row:
        if file is None:
            return _Row(None, map_digest(sample_id, None))
        path = self.source / file
        try:
            data = path.read_bytes()
            pixels = read_map(data, path.suffix.lower(), self.kind)
            if self.kind == "labels_map":
                _refuse_other_shape((width, height), pixels.shape[::-1])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except RemoteError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        return _Row(
            encode_map(pixels),
            pixels_digest(sample_id, pixels),
            size=(pixels.shape[0], pixels.shape[1]),
            highest=_highest(pixels) if self.kind == "labels_map" else -1,
            made_of=hashlib.sha256(data).digest(),
        )

    def _note(self, row: _Row) -> None:
        if row.size is not None and len(self.sizes) < 2:
            self.sizes.add(row.size)
        self.highest = max(self.highest, row.highest)
        if row.made_of:
            self.made = hashlib.sha256(self.made + row.made_of).digest()
        if self.step is not None:
            self.step()


def _highest(labels: np.ndarray) -> int:
    found = labels[labels != NO_CLASS]
    return int(found.max()) if found.size else -1


def _refuse_other_shape(image: tuple[int, int], labels: tuple[int, ...]) -> None:
    """Labels follow their image's outline; a quarter turn, say, would put them elsewhere."""
    (width, height), (across, down) = image, labels
    if abs(across * height - down * width) > max(*image, *labels):
        raise UserError(
            f"has {across} × {down} pixels, another shape than its image of {width} × {height}; "
            "an image that its EXIF data turn was stored upright, so turn its labels alike"
        )
