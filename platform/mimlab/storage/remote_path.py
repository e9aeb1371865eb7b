"""Paths on other file systems, with the part of `pathlib.Path` that is used here."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from mimlab.errors import UserError
from mimlab.storage.filesystems import SCHEMES, S3Address, explained, file_system

_SCHEME = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://|({'|'.join(SCHEMES)}|file):")
EXCLUSIVE_SCHEMES = ("s3",)
"""Where a file can be created only if there is none: pyarrow cannot, a client of its own can."""

_COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class RemotePath:
    """A file or folder that a URI names: `s3://bucket/folder`.

    What fails but for FileNotFoundError raises RemoteError, an OSError with a remedy.
    """

    scheme: str
    authority: str
    """Bucket, container@account or host."""
    path: str
    """Below it, decoded: empty, or from a `/` on."""
    query: str = ""

    @classmethod
    def parse(cls, uri: str) -> RemotePath:
        """Raises ValueError, with what would be right, unless this is a URI that pyarrow knows."""
        parts = urlsplit(uri)
        if parts.scheme not in SCHEMES:
            raise ValueError(
                f"{uri}: no file system is called {parts.scheme}://; there are paths, file:// and "
                + ", ".join(f"{scheme}://" for scheme in SCHEMES)
            )
        if not uri.startswith(f"{parts.scheme}://") or not parts.netloc or parts.fragment:
            raise ValueError(f"{uri}: malformed; expected {parts.scheme}://BUCKET/FOLDER")
        if parts.password or (parts.scheme == "s3" and parts.username):
            raise ValueError(
                f"{parts.scheme}://…@{parts.hostname}{parts.path}: a password in an address would "
                "be written into every record; give credentials by the environment"
            )
        if parts.scheme == "s3":
            try:
                S3Address.of(parts.query)
            except ValueError as error:
                raise ValueError(f"{uri}: {error}") from error
        folders = [part for part in unquote(parts.path).split("/") if part]
        if {".", ".."} & set(folders):
            raise ValueError(f"{uri}: malformed; a URI holds no `.` or `..`")
        return cls(parts.scheme, parts.netloc, "".join(f"/{p}" for p in folders), parts.query)

    def __str__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{quote(self.path, safe='/:=+,@~!$')}{query}"

    def __truediv__(self, name: str) -> RemotePath:
        return replace(self, path=f"{self.path}/{name.strip('/')}")

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name or self.authority

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def parent(self) -> RemotePath:
        return replace(self, path=self.path.rpartition("/")[0])

    @property
    def top(self) -> RemotePath:
        """The bucket, container or host itself."""
        return replace(self, path="")

    @property
    def located(self) -> tuple[pafs.FileSystem, str]:
        """pyarrow's file system and the path in it."""
        system, root = file_system(self.scheme, self.authority, self.query)
        return system, f"{root}{self.path}"

    def info(self) -> pafs.FileInfo:
        with explained(str(self)):
            system, path = self.located
            return system.get_file_info(path)

    def exists(self) -> bool:
        return self.info().type != pafs.FileType.NotFound

    def is_file(self) -> bool:
        return self.info().type == pafs.FileType.File

    def entries(self, *, recursive: bool = False) -> list[tuple[str, pafs.FileInfo]]:
        """What lies in this folder, by path relative to it, sorted: one listing; [] if nothing."""
        with explained(str(self)):
            system, path = self.located
            selector = pafs.FileSelector(path, allow_not_found=True, recursive=recursive)
            found = [(info.path[len(path) + 1 :], info) for info in system.get_file_info(selector)]
        return sorted((name, info) for name, info in found if name)

    def open_input(self) -> pa.NativeFile:
        """For reading at any place. Raises FileNotFoundError."""
        with explained(str(self)):
            system, path = self.located
            return system.open_input_file(path)

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError."""
        with explained(str(self)):
            system, path = self.located
            with system.open_input_stream(path, compression=None) as file:
                return file.read()

    def read_text(self) -> str:
        """Raises FileNotFoundError, and UnicodeDecodeError unless it is UTF-8."""
        return self.read_bytes().decode()

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Replace the file; on an object store whole or not at all."""
        with explained(str(self)):
            system, path = self.located
            with system.open_output_stream(path, compression=None) as file:
                file.write(data)

    def upload(self, file: Path) -> None:
        """Write what a local file holds."""
        with explained(str(self)), file.open("rb") as source:
            system, path = self.located
            with system.open_output_stream(path, compression=None) as target:
                while piece := source.read(_COPY_BYTES):
                    target.write(piece)

    def remove(self) -> None:
        """A file, or a folder with everything in it; it may already be gone."""
        with explained(str(self)):
            system, path = self.located
            try:
                kind = system.get_file_info(path).type
                if kind == pafs.FileType.Directory:
                    system.delete_dir(path)
                elif kind != pafs.FileType.NotFound:
                    system.delete_file(path)
            except FileNotFoundError:
                return


Place = Path | RemotePath
"""A file or folder, here or elsewhere."""


def is_uri(text: str) -> bool:
    """Whether a text is meant as an address with a scheme, right or wrong."""
    return bool(_SCHEME.match(text))


def checked(text: str) -> str:
    """A path or a URI as it is kept: `file://` taken off. Raises ValueError."""
    if not is_uri(text):
        return text
    if not text.startswith("file:"):
        return str(RemotePath.parse(text))
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(f"{text}: malformed; a folder of this machine is file:///FOLDER")
    return unquote(parts.path)


def place_of(where: str | os.PathLike[str] | RemotePath) -> Place:
    """The place that a path or a URI names. Raises UserError for a URI that is none."""
    if isinstance(where, RemotePath):
        return where
    text = os.fspath(where)
    try:
        text = checked(text)
    except ValueError as error:
        raise UserError(str(error)) from error
    return RemotePath.parse(text) if is_uri(text) else Path(text)


def below(folder: Place, place: Place) -> PurePosixPath:
    """The path of a place from a folder that it lies in. Raises ValueError if it does not."""
    paths = [PurePosixPath(p if isinstance(p, Path) else p.path or "/") for p in (place, folder)]
    return paths[0].relative_to(paths[1])


def opened(place: Place) -> pa.NativeFile:
    """A file for reading at any place. Raises FileNotFoundError, and OSError as the place does."""
    return pa.OSFile(os.fspath(place)) if isinstance(place, Path) else place.open_input()


def mapped(place: Place) -> pa.NativeFile:
    """As `opened`, a local file being mapped into memory: it may be larger than that."""
    return pa.memory_map(os.fspath(place)) if isinstance(place, Path) else place.open_input()


@contextmanager
def staged(target: Place) -> Iterator[Path]:
    """A local path to write: the place itself, or a temporary file that is uploaded afterwards."""
    if isinstance(target, Path):
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="mimlab-") as folder:
        file = Path(folder, target.name)
        yield file
        target.upload(file)
