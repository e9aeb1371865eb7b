"""Files below one storage root: whole-file reads, atomic writes, exclusive creation, records."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from mimlab.errors import UserError
from mimlab.storage.bucket_files import BucketFiles
from mimlab.storage.files import Files, FileSize, LocalFiles, T
from mimlab.storage.patience import Patience, PatientFiles
from mimlab.storage.records import Record
from mimlab.storage.remote_path import Place, RemotePath, place_of
from mimlab.storage.seal import OtherVersion, sealed, unsealed

RecordT = TypeVar("RecordT", bound=Record)


class Store:
    """Access to the storage root by relative paths such as `trials/<id>/status.json`.

    A reader sees a file whole or not at all.
    """

    def __init__(self, root: str | os.PathLike[str] | RemotePath) -> None:
        """`root`: a path, or an `s3://` URI. Raises UserError for a URI that is none."""
        place = place_of(root)
        self.root: Place = place.absolute() if isinstance(place, Path) else place
        self._files: Files = _files_of(self.root)
        self.patience = Patience(str(self.root))
        """How what may pass is waited for: at first not at all."""

    def patient(self, limit_s: float, guard: Callable[[], None] | None = None) -> Store:
        """The same storage, waited for up to `limit_s` where it is away or full.

        `guard` is called before what failed is tried again: it raises once another process may have
        begun to write here.
        """
        patience = Patience(str(self.root), limit_s)
        return self._with(patience if guard is None else replace(patience, guard=guard))

    def at_once(self) -> Store:
        """The same storage, which says at once what it cannot do."""
        return self._with(Patience(str(self.root)))

    def _with(self, patience: Patience) -> Store:
        store = copy.copy(self)
        store.patience = patience
        files = _files_of(self.root)
        store._files = PatientFiles(files, patience) if patience.limit_s else files
        return store

    def place(self, path: str) -> Place:
        """Where `path` lies, for people."""
        return self.root / path

    def scratch(self, path: str) -> Path:
        """A folder of this machine for what needs one and holds no results: Ray's own files.

        It is `path` itself where the storage is local, else a folder in the user's cache.
        """
        if isinstance(self.root, Path):
            return self.root / path
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        name = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(cache, "mimlab", name, path)

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        return self._files.read(path)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Replace `path` with `data`, atomically, creating folders as needed."""
        self._files.write(path, data)

    def write_by(self, path: str, produce: Callable[[BinaryIO], T]) -> T:
        """`write` of what `produce` writes, for what is large. Returns what it returned; it may be
        called again, with another file, where the first could not be written."""
        return self._files.write_by(path, produce)

    def create(self, path: str, data: bytes) -> bool:
        """Write `path` only if it does not exist; False if it did. Whole or not at all."""
        return self._files.create(path, data)

    def append(self, path: str, line: str) -> None:
        """Add a line to a log; in a bucket the log is a folder with an object for each line."""
        self._files.append(path, line)

    def list(self, folder: str) -> list[str]:
        """Names in `folder`, sorted, without hidden and temporary ones; [] if there is none."""
        return self._files.list(folder)

    def sizes(self, folder: str) -> dict[str, FileSize]:
        """Every file below `folder` by its path from there, hidden ones too."""
        return self._files.sizes(folder)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return self._files.exists(path)

    def remove(self, path: str) -> None:
        """Remove a file or a folder; it may already be gone."""
        self._files.remove(path)

    def read_record(self, path: str, kind: type[RecordT]) -> RecordT | None:
        """The record in `path`, None if there is none. Raises UserError if it cannot be read."""
        try:
            data = self.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return kind.model_validate_json(data)
        except ValueError as error:
            raise UserError(
                f"{self.place(path)}: not a {kind.__name__} that this version of mimlab wrote "
                f"({str(error).splitlines()[0]}); restore the file or remove its folder"
            ) from error

    def read_sealed(self, path: str, kind: type[RecordT]) -> RecordT | None:
        """The record in `path`; None if there is none, or a bit of it has changed.

        Raises UserError for one that another version of mimlab wrote and this one cannot read.
        """
        try:
            return unsealed(self.read(path), kind)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OtherVersion as error:
            raise UserError(
                f"{self.place(path)}: a {kind.__name__} of another version of mimlab ({error}); "
                "go on with that version"
            ) from error

    def write_sealed(self, path: str, record: Record) -> None:
        """Write a record that `read_sealed` takes for one only as long as it is unchanged."""
        self.write(path, sealed(record))

    def write_record(self, path: str, record: Record) -> None:
        self.write(path, record.to_bytes())


def _files_of(root: Place) -> Files:
    return LocalFiles(root) if isinstance(root, Path) else BucketFiles(root)
