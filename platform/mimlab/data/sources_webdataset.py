"""WebDataset: tars of samples, plain or compressed by gzip, splits by file name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mimlab.data.pieces import (
    GZIP_SUFFIXES,
    Source,
    SourceSplit,
    TarPiece,
    classes_file,
    cuts,
    split_order,
)
from mimlab.data.splits_by_name import files_of_splits
from mimlab.data.tar_index import TarIndex, index_tar
from mimlab.data.tar_labels import Label, class_names
from mimlab.storage.remote_path import Place, below

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def is_tar(path: str) -> bool:
    """Whether a file is a tar by its name; a hidden one is not."""
    name = path.rpartition("/")[2].lower()
    return name.endswith(TAR_SUFFIXES) and not name.startswith(".")


def list_webdataset(
    root: Place,
    files: Sequence[Place],
    splits: Mapping[str, str] | None = None,
    *,
    ignored: int = 0,
) -> Source:
    """List the samples of tars, which lie below `root`. Reads headers and labels, of a compressed
    tar everything; keeps what is needed to find the images.

    `splits` maps the name of a split to a pattern of paths below `root`; without it names of files
    and folders decide. Raises UserError.
    """
    by_split = files_of_splits(root, files, splits)
    order = sorted(by_split, key=split_order)
    indices = {file: index_tar(file) for split in order for file in by_split[split]}
    classes, number_of = _classes(root, indices)
    found, pieces = [], []
    for number, split in enumerate(order):
        rows = num_bytes = 0
        for file in by_split[split]:
            index = indices[file]
            name = str(below(root, file))
            labels = [_number(label, number_of) for label in index.labels]
            for start, stop in _cuts(name, index):
                piece = TarPiece(
                    split=number,
                    first_row=rows + start,
                    rows=stop - start,
                    root=str(root),
                    file=name,
                    images=index.images[start:stop],
                    offsets=index.offsets[start:stop],
                    sizes=index.sizes[start:stop],
                    labels=labels[start:stop],
                )
                pieces.append(piece)
            rows += len(index.images)
            num_bytes += sum(index.sizes)
        found.append(SourceSplit(split, rows, num_bytes))
    ignored += sum(index.ignored for index in indices.values())
    return Source(found, pieces, classes, ignored)


def _cuts(name: str, index: TarIndex) -> Iterator[tuple[int, int]]:
    """A compressed tar is read from its beginning, so one task reads all of it."""
    if name.lower().endswith(GZIP_SUFFIXES):
        yield 0, len(index.sizes)
    else:
        yield from cuts(index.sizes)


def _classes(root: Place, indices: Mapping[Place, TarIndex]) -> tuple[list[str], dict[str, int]]:
    """The names of the classes, and the number of each."""
    found: dict[Label, str] = {}
    for file, index in indices.items():
        for image, label in zip(index.images, index.labels, strict=True):
            if label not in found:
                found[label] = f"{file}/{image}"
    classes = class_names(found, classes_file(root))
    return classes, {name: number for number, name in enumerate(classes)}


def _number(label: Label, number_of: Mapping[str, int]) -> int | None:
    if label.number is None and label.name is not None:
        return number_of[label.name]
    return label.number
