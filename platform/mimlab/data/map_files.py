"""Which file of a folder of maps belongs to which image: by name, never by number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pyarrow.parquet as pq

from mimlab.data.manifest import DataSet, Shard
from mimlab.data.map_pixels import SUFFIXES
from mimlab.data.sources_folder import list_files
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, opened

SHOWN = 3
"""Names that a message gives before it counts the rest."""


@dataclass
class Matches:
    """The maps of a data set's rows."""

    files: dict[str, list[list[str | None]]] = field(default_factory=dict)
    """Split → for each of its shards the map of every row, None where there is none."""
    missing: Counter[str] = field(default_factory=Counter)
    """Images without a map, by split."""
    examples: list[str] = field(default_factory=list)
    """Names of some of them."""
    unused: list[str] = field(default_factory=list)
    """Files that are maps by their name, but no image's."""


def match_maps(folder: Place, data: DataSet) -> Matches:
    """Find the map of each image: `NAME.png` or `.npy`, or the same below a folder named like the
    split, NAME being that of the image's file at the source without its extension.

    Keeps the names of the maps in memory, and reads those of the images. Raises UserError where the
    images have no names, or one map would belong to two images.
    """
    if not data.named:
        raise UserError(
            f"{data.root}: format version {data.manifest.version} does not keep the names of the "
            "images, by which maps are found; import again from the source"
        )
    maps = _listed(folder)
    matches, owners = Matches(), {}
    for split in data.splits.values():
        shards = matches.files[split.name] = []
        for shard in split.shards:
            found = [_map_of(name, split.name, maps, owners) for name in _names(shard)]
            matches.missing[split.name] += found.count(None)
            if None in found and len(matches.examples) < SHOWN:
                names = zip(_names(shard), found, strict=True)
                matches.examples += [str(name) for name, file in names if file is None]
            shards.append(found)
    matches.unused = [file for file in maps.values() if file not in owners]
    return matches


def _listed(folder: Place) -> dict[str, str]:
    """File by the path without its extension."""
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    if folder.is_file():
        raise UserError(f"{folder}: expected a folder of maps, one file for each image")
    try:
        listing = list_files(folder)
    except RemoteError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    files = [path for path, _ in listing.images] + listing.others
    found: dict[str, str] = {}
    for file in files:
        stem = _stem(file)
        if file[len(stem) :].lower() not in SUFFIXES:
            continue
        if stem in found:
            raise UserError(f"{folder}: both {found[stem]} and {file}; keep one map of an image")
        found[stem] = file
    if not found:
        some = f"; it holds {len(files)} other files, such as {files[0]}" if files else ""
        raise UserError(f"{folder}: no {' or '.join(SUFFIXES)} files{some}")
    return found


def _names(shard: Shard) -> list[str | None]:
    with opened(shard.path) as file:
        return pq.read_table(file, columns=["name"])["name"].to_pylist()


def _stem(path: str) -> str:
    """A path without its extension."""
    return str(PurePosixPath(path).with_suffix(""))


def _map_of(
    name: str | None, split: str, maps: dict[str, str], owners: dict[str, str]
) -> str | None:
    if name is None:
        return None
    stem = _stem(name)
    file = maps.get(f"{split}/{stem}") or maps.get(stem)
    if file is None:
        return None
    owner = f"{name} of split {split}"
    if file in owners:
        raise UserError(
            f"{file}: two images are called so, {owners[file]} and {owner}; put the maps into a "
            "folder for each split, or rename one of the images and import again"
        )
    owners[file] = owner
    return file
