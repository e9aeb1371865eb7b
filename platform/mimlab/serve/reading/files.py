"""Files of a storage, parsed once for each version of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mimlab.storage.records import Record
from mimlab.storage.store import Store

RecordT = TypeVar("RecordT", bound=Record)
ValueT = TypeVar("ValueT")

Stamp = tuple[int, int, int]
"""inode, bytes, nanoseconds of the last change."""

SETTLED_S = 1.0
"""A file that changed so recently may change again without looking any different: a folder's clock
has steps of milliseconds, and a freed inode is given out again. Such a one is read every time."""
BUCKET_THREADS = 32


class CachedFiles:
    """Reads records and listings, again only where they have changed.

    In a bucket, where to ask whether an object has changed takes as long as to read it, what may
    change is always read; many at once are read in parallel.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._local = os.fspath(store.root) if isinstance(store.root, Path) else None
        self._values: dict[tuple[str, Hashable], tuple[Stamp, Any]] = {}
        self._lists: dict[str, tuple[Stamp, list[str]]] = {}

    def stamp(self, path: str) -> Stamp | None:
        """Tells versions of a file or folder apart; None where that cannot be told."""
        if self._local is None:
            return None
        try:
            stat = os.stat(f"{self._local}/{path}")  # noqa: PTH116  thousands of them
        except (FileNotFoundError, NotADirectoryError):
            return None
        if abs(time.time() - stat.st_mtime) < SETTLED_S:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def parsed(self, path: str, parse: Callable[[bytes], ValueT]) -> ValueT | None:
        """What `parse` makes of a file, None if there is none. Raises what `parse` raises."""

        def read() -> ValueT | None:
            try:
                return parse(self.store.read(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

        return self._fresh(path, parse, read)

    def record(self, path: str, kind: type[RecordT]) -> RecordT | None:
        """The record in `path`, None if there is none. Raises UserError if it cannot be read."""
        return self._fresh(path, kind, lambda: self.store.read_record(path, kind))

    def _fresh(self, path: str, how: Hashable, read: Callable[[], ValueT | None]) -> ValueT | None:
        # Asked before the file is read: a change in between shows at the next look.
        stamp = self.stamp(path)
        known = self._values.get((path, how))
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        value = read()
        if stamp is not None and value is not None:
            self._values[path, how] = (stamp, value)
        return value

    def records(self, paths: Sequence[str], kind: type[RecordT]) -> list[RecordT | None]:
        """Many of them, in their order. Raises as `record` does."""
        return self._each(paths, lambda path: self.record(path, kind))

    def sealed(self, paths: Sequence[str], kind: type[RecordT]) -> list[RecordT | None]:
        """Many that are sealed, in their order; None where there is none, or a bit has changed."""

        def one(path: str) -> RecordT | None:
            return self._fresh(path, kind, lambda: self.store.read_sealed(path, kind))

        return self._each(paths, one)

    def _each(self, paths: Sequence[str], read: Callable[[str], ValueT]) -> list[ValueT]:
        if self._local is not None or len(paths) < 2:
            return [read(path) for path in paths]
        with ThreadPoolExecutor(BUCKET_THREADS) as pool:
            return list(pool.map(read, paths))

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; [] if there is none."""
        stamp = self.stamp(folder)
        known = self._lists.get(folder)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        names = self.store.list(folder)
        if stamp is not None:
            self._lists[folder] = (stamp, names)
        return names
