"""All or nothing: a folder appears under its name only when it is complete and on disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mimlab.data.claiming import claimed, still_claimed
from mimlab.data.manifest import MANIFEST
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place


@contextmanager
def publishing_at(out: Place, manifest: str = MANIFEST) -> Iterator[Place]:
    """The folder to write a data set to, its `manifest` last; afterwards it is `out`, whole.

    If the block raises, nothing is left. Raises UserError where `out` cannot be made.
    """
    if isinstance(out, Path):
        with publishing(out) as partial:
            yield partial
    else:
        with claimed(out, manifest) as folder:
            yield folder


def commit(file: Place, content: bytes) -> None:
    """Write the file that makes its folder a data set.

    Raises UserError if the folder, elsewhere, has been taken by another process.
    """
    if not isinstance(file, Path):
        still_claimed(file.parent)
    write_whole(file, content)


@contextmanager
def publishing(out: Path) -> Iterator[Path]:
    """A temporary sibling `<out>.partial-…` that becomes `out` when the block ends.

    If the block raises, nothing is left. A process that was killed leaves its partial folder; the
    next one for the same `out` removes it. Raises UserError where `out` cannot be made, and
    FileExistsError where somebody else published it meanwhile.
    """
    out = out.absolute()
    _refuse_existing(out)
    partial, lock = _new_partial(out)
    try:
        yield partial
        sync_folder(partial)
        _rename(partial, out)
        sync_folder(out.parent)
    finally:
        os.close(lock)
        shutil.rmtree(partial, ignore_errors=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is either absent or whole, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_whole(place: Place, content: bytes) -> None:
    """Replace a file anywhere so that it is either what it was or whole."""
    if isinstance(place, Path):
        write_durably(place, content)
    else:
        place.write_bytes(content)


def sync_file(path: Path) -> None:
    """See to it that a file is on disk, also after a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_existing(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; choose another folder or remove it first")


def _new_partial(out: Path) -> tuple[Path, int]:
    """A new partial folder and the open lock that shows it to be in use."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        parent = os.open(out.parent, os.O_RDONLY)
        try:
            # Making and locking a folder is one step to others, who look under the same lock.
            _lock(parent, wait=True)
            _remove_stale(out)
            partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-", dir=out.parent))
            partial.chmod(0o755)
            lock = os.open(partial, os.O_RDONLY)
            _lock(lock)
        finally:
            os.close(parent)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror})") from error
    return partial, lock


def _remove_stale(out: Path) -> None:
    for left in out.parent.glob(f"{out.name}.partial-*"):
        handle = os.open(left, os.O_RDONLY)
        try:
            if _lock(handle):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(handle)


def _lock(handle: int, *, wait: bool = False) -> bool:
    """False if another process holds it, or if the file system knows no locks."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    return False


def _rename(partial: Path, out: Path) -> None:
    try:
        partial.rename(out)
    except OSError as error:
        if out.exists():
            raise FileExistsError(f"{out}: somebody else made it meanwhile") from error
        raise
