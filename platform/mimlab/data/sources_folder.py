"""Folders of image files: class folders, a flat folder, or split folders over either."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.fs as pafs

from mimlab.data.checking import EXTENSIONS
from mimlab.data.pieces import SPLIT_NAMES, FilesPiece, Source, SourceSplit, cuts, split_order
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, RemotePath


@dataclass
class Listing:
    """The files below a folder, by path relative to it."""

    images: list[tuple[str, int]] = field(default_factory=list)
    """(path, bytes), sorted by path."""
    parquet: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def list_files(root: Place) -> Listing:
    """Everything below `root`; hidden files and folders are ignored, links are followed."""
    listing = Listing()
    for path, size in _walk(root, "", frozenset()) if isinstance(root, Path) else _objects(root):
        # Plain strings: there may be millions.
        name = path.rpartition("/")[2]
        suffix = "." + name.rpartition(".")[2].lower()
        if name.startswith("."):
            listing.others.append(path)
        elif suffix == ".parquet":
            listing.parquet.append(path)
        elif suffix in EXTENSIONS:
            listing.images.append((path, size))
        else:
            listing.others.append(path)
    return listing


def _objects(root: RemotePath) -> Iterator[tuple[str, int]]:
    for path, info in root.entries(recursive=True):
        hidden = any(folder.startswith(".") for folder in path.split("/")[:-1])
        if info.type == pafs.FileType.File and not hidden:
            yield path, info.size


def _walk(root: Path, below: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    here = root / below
    status = here.stat()
    if (status.st_dev, status.st_ino) in above:
        raise UserError(f"{here}: a link to a folder that contains it")
    with os.scandir(here) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if not entry.is_dir():
            yield path, entry.stat().st_size if entry.is_file() else 0
        elif not entry.name.startswith("."):
            yield from _walk(root, path, above | {(status.st_dev, status.st_ino)})


def list_folder(root: Place, listing: Listing, splits: Mapping[str, str] | None = None) -> Source:
    """Sort the images below `root` into splits and classes.

    `splits` maps the name of a split to a folder below `root`; without it folders named like splits
    decide, else everything is `train`. Raises UserError.
    """
    folders = splits or _split_folders(root, listing)
    members = {name: _below(listing, folder) for name, folder in folders.items()}
    for name, files in members.items():
        if not files:
            raise UserError(f"{root / folders[name]}: no images for split {name}")
    labelled = {name: _class_names(root, files) for name, files in members.items()}
    classes = sorted({c for found in labelled.values() for c in found if c})
    label_of = {name: label for label, name in enumerate(classes)}
    found, pieces = [], []
    for number, name in enumerate(sorted(folders, key=split_order)):
        files = [(str(Path(folders[name], path)), size) for path, size in members[name]]
        labels = [label_of[c] for c in labelled[name] if c] or None
        pieces.extend(_pieces(root, number, files, labels))
        found.append(SourceSplit(name, len(files), sum(size for _, size in files)))
    return Source(found, pieces, classes, len(listing.others))


def _split_folders(root: Place, listing: Listing) -> dict[str, str]:
    tops = {path.split("/")[0] if "/" in path else "" for path, _ in listing.images}
    named = {top for top in tops if top in SPLIT_NAMES}
    if not named:
        return {"train": "."}
    if named != tops:
        other = sorted(tops - named)[0] or "the folder itself"
        raise UserError(
            f"{root}: images in {', '.join(sorted(named))}, which are named like splits, but also "
            f"in {other}; say the splits with --split NAME=FOLDER (`train=.` for one split)"
        )
    return {name: name for name in named}


def _below(listing: Listing, folder: str) -> list[tuple[str, int]]:
    prefix = "" if folder in (".", "") else folder.rstrip("/") + "/"
    return [(p.removeprefix(prefix), size) for p, size in listing.images if p.startswith(prefix)]


def _class_names(root: Place, files: list[tuple[str, int]]) -> list[str]:
    """The first folder of each path: its class, `""` in a flat folder."""
    names = [path.split("/")[0] if "/" in path else "" for path, _ in files]
    if "" in names and any(names):
        raise UserError(
            f"{root}: {files[names.index('')][0]} lies beside class folders; "
            "expected all images in class folders, or none"
        )
    return names


def _pieces(
    root: Place, split: int, files: list[tuple[str, int]], labels: list[int] | None
) -> Iterator[FilesPiece]:
    for start, stop in cuts([size for _, size in files]):
        yield FilesPiece(
            split=split,
            first_row=start,
            rows=stop - start,
            root=str(root),
            files=[path for path, _ in files[start:stop]],
            labels=labels[start:stop] if labels else None,
        )
