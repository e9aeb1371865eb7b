"""What a storage root must be able to do, and how a folder of this machine does it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from pathlib import Path


class Files(ABC):
    """Whole files below a root, by relative paths such as `trials/<id>/status.json`."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""

    @abstractmethod
    def write(self, path: str, data: bytes | memoryview) -> None:
        """Replace `path` with `data`, whole or not at all, creating folders as needed."""

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
    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file or a folder; it may already be gone."""


class LocalFiles(Files):
    """`Files` in a folder: a write goes through a temporary file and a rename."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes | memoryview) -> None:
        target = self._root / path
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, path: str, data: bytes) -> bool:
        target = self._root / path
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def append(self, path: str, line: str) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a") as file:
            file.write(line + "\n")

    def list(self, folder: str) -> list[str]:
        try:
            names = [path.name for path in (self._root / folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if not name.startswith("."))

    def exists(self, path: str) -> bool:
        return (self._root / path).exists()

    def remove(self, path: str) -> None:
        target = self._root / path
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
