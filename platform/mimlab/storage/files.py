"""What a storage root must be able to do, and how a folder of this machine does it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

REMOVED = ".removed."
"""Begins the name of a folder that is being removed."""


@dataclass(frozen=True)
class FileSize:
    """What a listing tells of a file."""

    num_bytes: int
    modified_s: float
    """By the storage's clock, Unix seconds: tells old from new, never an order."""
    version: str = ""
    """An object's ETag: another one wherever its content is another. Empty in a folder."""


class Files(ABC):
    """Whole files below a root, by relative paths such as `trials/<id>/status.json`."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""

    @abstractmethod
    def write(self, path: str, data: bytes | memoryview) -> None:
        """Replace `path` with `data`, whole or not at all, creating folders as needed."""

    @abstractmethod
    def write_by(self, path: str, produce: Callable[[BinaryIO], T]) -> T:
        """`write` of what `produce` writes, for what is large. Returns what it returned; it may be
        called again, with another file, where the first could not be written."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Write `path` only if it does not exist; False if it did. Whole or not at all."""

    @abstractmethod
    def append(self, path: str, line: str) -> None:
        """Add a line to a log."""

    @abstractmethod
    def list(self, folder: str) -> list[str]:
        """Names in `folder`, sorted, without hidden and temporary ones; [] if there is none."""

    @abstractmethod
    def sizes(self, folder: str) -> dict[str, FileSize]:
        """Every file below `folder` by its path from there, hidden ones too; links are not
        followed."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file or a folder; it may already be gone. Part of a folder is never left under
        its name where the storage can rename."""


class LocalFiles(Files):
    """`Files` in a folder: a write goes through a temporary file and a rename."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes | memoryview) -> None:
        self.write_by(path, lambda file: file.write(data))

    def write_by(self, path: str, produce: Callable[[BinaryIO], T]) -> T:
        target = self._root / path
        with _temporary(target, produce) as (temporary, produced):
            temporary.replace(target)
        return produced

    def create(self, path: str, data: bytes) -> bool:
        target = self._root / path
        with _temporary(target, lambda file: file.write(data)) as (temporary, _):
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        return True

    def append(self, path: str, line: str) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab+") as file:
            # A full disk may have taken part of the line before.
            end = file.seek(0, os.SEEK_END)
            torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
            file.write(f"{chr(10) * torn}{line}\n".encode())

    def list(self, folder: str) -> list[str]:
        try:
            names = [path.name for path in (self._root / folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if not name.startswith("."))

    def sizes(self, folder: str) -> dict[str, FileSize]:
        root, found = self._root / folder, {}
        for parent, _, names in os.walk(root):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):
                    stat = path.lstat()
                    found[str(path.relative_to(root))] = FileSize(stat.st_size, stat.st_mtime)
        return found

    def exists(self, path: str) -> bool:
        return (self._root / path).exists()

    def remove(self, path: str) -> None:
        target = self._root / path
        with contextlib.suppress(FileNotFoundError):
            if not target.is_dir() or target.is_symlink():
                target.unlink()
                return
            doomed = target.with_name(f"{REMOVED}{target.name}.{uuid.uuid4().hex[:8]}")
            target.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


@contextlib.contextmanager
def _temporary(target: Path, produce: Callable[[BinaryIO], T]) -> Iterator[tuple[Path, T]]:
    """A hidden file beside `target` of what `produce` writes, on the disk and not on its way there;
    and what it returns."""
    found = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with found.open("wb") as file:
            produced = produce(file)
            file.flush()
            os.fsync(file.fileno())
        yield found, produced
    finally:
        found.unlink(missing_ok=True)
