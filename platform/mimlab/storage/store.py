"""Files below one storage root: whole-file reads, atomic writes, exclusive creation."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import TypeVar

from mimlab.errors import UserError
from mimlab.storage.records import Record

RecordT = TypeVar("RecordT", bound=Record)


class Store:
    """Access to the storage root by relative paths such as `trials/<id>/status.json`.

    A reader sees a file whole or not at all: `write` goes through a temporary file and a rename.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def local(self, path: str) -> Path:
        """The place of `path` on this machine."""
        return self.root / path

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        return self.local(path).read_bytes()

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Replace `path` with `data`, atomically, creating folders as needed."""
        target = self.local(path)
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
        """Write `path` only if it does not exist; False if it did. Whole or not at all."""
        target = self.local(path)
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

    def list(self, folder: str) -> list[str]:
        """Names in `folder`, sorted, without hidden and temporary ones; [] if there is none."""
        try:
            names = [path.name for path in self.local(folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if not name.startswith("."))

    def exists(self, path: str) -> bool:
        return self.local(path).exists()

    def remove(self, path: str) -> None:
        """Remove a file or a folder; it may already be gone."""
        target = self.local(path)
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                target.unlink()

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
                f"{self.local(path)}: not a {kind.__name__} that this version of mimlab wrote "
                f"({str(error).splitlines()[0]}); restore the file or remove its folder"
            ) from error

    def write_record(self, path: str, record: Record) -> None:
        self.write(path, record.to_bytes())
