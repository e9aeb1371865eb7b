"""Files that a user names: refused before any work is done, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from mimlab.errors import UserError
from mimlab.storage.store import Store


def check_writable(file: Path) -> None:
    """Raises UserError if `file` cannot be written."""
    folder = file.absolute().parent
    if file.is_dir():
        raise UserError(f"{file}: this is a folder; name a file in it")
    if not folder.is_dir():
        raise UserError(f"{file}: there is no folder {folder}; create it, or name another file")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{file}: {folder} may not be written to; name another file")


def write_text(file: Path, text: str) -> None:
    """Write UTF-8, through a temporary file and a rename. Raises UserError."""
    try:
        Store(file.absolute().parent).write(file.name, text.encode())
    except OSError as error:
        raise UserError(f"{file}: it could not be written ({error.strerror})") from error
