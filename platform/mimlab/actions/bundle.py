"""What is sent along with a driver: the packages that run, plug-ins, and files that it reads."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mimlab_objectives.plugins import load_plugins


@contextlib.contextmanager
def bundled(code: bytes, files: Mapping[str, bytes | Path] | None = None) -> Iterator[Path]:
    """A zip file for the duration of the context.

    Args:
        code: as `mimlab.search.fingerprint.code_zip` makes it.
        files: what lies beside the packages, by name; contents, or files of this machine.
    """
    with tempfile.TemporaryDirectory(prefix="mimlab-") as folder:
        package = Path(folder) / "driver.zip"
        package.write_bytes(code)
        with zipfile.ZipFile(package, "a", zipfile.ZIP_DEFLATED) as archive:
            _add_plugin_metadata(archive)
            for name, content in (files or {}).items():
                if isinstance(content, Path):
                    archive.write(content, name)
                else:
                    archive.writestr(name, content)
        yield package


def _add_plugin_metadata(archive: zipfile.ZipFile) -> None:
    """By it a process finds the entry points of plug-ins, whose code is in the archive."""
    folders = [plugin.metadata for plugin in load_plugins() if plugin.metadata is not None]
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent).as_posix())
