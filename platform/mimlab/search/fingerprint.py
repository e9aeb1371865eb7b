"""The code that runs a trial: packed into the submission, and known by a hash."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import mimlab
import mimlab_objectives
from mimlab_objectives.plugins import load_plugins

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold: equal code gives equal bytes."""

SUFFIXES = frozenset({".py", ".typed", ".yaml", ".css", ".js"})
"""Of what packages hold and read, which is what their wheels have."""


def code_zip() -> bytes:
    """Both packages and those of plug-ins as a zip file, equal for equal code."""
    own = [Path(package.__path__[0]) for package in (mimlab, mimlab_objectives)]
    plugins = [plugin.code for plugin in load_plugins()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for root in dict.fromkeys([*own, *plugins]):
            for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
                if path.suffix in SUFFIXES:
                    name = path.relative_to(root.parent).as_posix()
                    archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), path.read_bytes())
    return buffer.getvalue()


def fingerprint(code: bytes) -> str:
    """Short hash of `code_zip()`."""
    return hashlib.sha256(code).hexdigest()[:16]
