"""Passwords and tokens: made once, kept in files that only their owner reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


class Keys:
    """The secrets below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "secrets"

    def path(self, name: str) -> Path:
        """The file of a secret, which is made where it is not there yet."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / name
        if not file.exists():
            write_secret(file, secrets.token_hex(32))
        return file

    def value(self, name: str) -> str:
        return self.path(name).read_text()


def write_secret(file: Path, text: str) -> None:
    """Write a file that is its owner's from the start."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(text)
