"""Which samples a WebDataset tar holds, and where their images lie in it.

Format: webdataset.github.io/webdataset (Aizman, Maltby and Breuel, 2019). Files of one name up to
the first dot, one behind the other, are a sample; what follows that dot says what each of them is.
"""

from __future__ import annotations

import io
import itertools
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mimlab.data.checking import EXTENSIONS
from mimlab.data.pieces import open_tar
from mimlab.data.tar_labels import Label, label_of
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place

_PREFERRED = ("jpg", "jpeg", "png", "webp")
IMAGE_EXTENSIONS = (*_PREFERRED, *sorted({e[1:] for e in EXTENSIONS} - set(_PREFERRED)))
"""Of several images in one sample the first by this order is taken."""

LABEL_EXTENSIONS = ("cls", "json")


class _Member(NamedTuple):
    """A regular file in a tar."""

    name: str
    key: str
    """The name up to the first dot behind the last slash."""
    extension: str
    """What follows that dot, in lower case."""
    offset: int
    """Of its content in the (decompressed) tar."""
    size: int
    content: bytes
    """Only of what may hold a label."""


@dataclass
class TarIndex:
    """The samples of one tar in its order, as columns."""

    images: list[str] = field(default_factory=list)
    """Names within the tar."""
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Bytes of each image, which begin at its offset."""
    labels: list[Label] = field(default_factory=list)
    ignored: int = 0
    """Files that are neither the image nor the label of a sample."""


def index_tar(path: Place) -> TarIndex:
    """Read the headers and labels of a tar, or all of a compressed one, without keeping it.

    Raises UserError where it is no whole tar, holds no sample with an image, or holds a key twice.
    """
    index = TarIndex()
    seen: set[str] = set()
    kinds: Counter[str] = Counter()
    labels: dict[Label, Label] = {}
    for key, members in itertools.groupby(_members(path), lambda member: member.key):
        sample = _sample(path, key, list(members), seen)
        kinds.update(sample.keys())
        image = next((sample[e] for e in IMAGE_EXTENSIONS if e in sample), None)
        if image is None:
            index.ignored += len(sample)
            continue
        contents = {e: sample[e].content for e in LABEL_EXTENSIONS if e in sample}
        label = label_of(contents, f"{path}/{key}")
        index.images.append(image.name)
        index.offsets.append(image.offset)
        index.sizes.append(image.size)
        index.labels.append(labels.setdefault(label, label))
        index.ignored += len(sample) - len(contents) - 1
    if not index.images:
        raise UserError(f"{path}: no images; {_what_is_there(kinds)}")
    return index


def _sample(path: Place, key: str, members: list[_Member], seen: set[str]) -> dict[str, _Member]:
    if key in seen:
        raise UserError(
            f"{path}: key {key!r} comes twice, with other samples between; "
            "the files of a sample must lie one behind the other"
        )
    seen.add(key)
    sample: dict[str, _Member] = {}
    for member in members:
        if member.extension in sample:
            raise UserError(f"{path}: key {key!r} has two files .{member.extension}")
        sample[member.extension] = member
    return sample


def _what_is_there(kinds: Counter[str]) -> str:
    if not kinds:
        return "the tar holds no files"
    found = ", ".join(f"{count} × .{kind}" for kind, count in kinds.most_common(3))
    expected = ", ".join(f".{extension}" for extension in _PREFERRED)
    return f"the tar holds {found}; expected KEY with {expected} or another picture"


def _members(path: Place) -> Iterator[_Member]:
    """Regular files with a key, hidden ones aside. Raises UserError unless the tar is whole."""
    try:
        with open_tar(path) as stream:
            yield from _whole(stream)
    except tarfile.ReadError as error:
        raise UserError(f"{path}: not a whole tar ({error}); fetch it again") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from error


def _whole(stream: io.BufferedIOBase) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while (entry := archive.next()) is not None:
            # It would keep all of them.
            archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            if entry.isreg() and (member := _member(entry, stream)) is not None:
                yield member
        # `tarfile` takes whatever is no header for the end; only zeros are.
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"cut short or damaged at byte {archive.offset}")


def _member(entry: tarfile.TarInfo, stream: io.BufferedIOBase) -> _Member | None:
    folder, slash, base = entry.name.rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem:
        return None
    extension = extension.lower()
    content = b""
    if extension in LABEL_EXTENSIONS:
        stream.seek(entry.offset_data)
        content = stream.read(entry.size)
    key = folder + slash + stem
    return _Member(entry.name, key, extension, entry.offset_data, entry.size, content)
