"""What listings tell: which files there are, and whether one has changed since it was read."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Protocol

from mimlab.storage.store import Store

Stamp = tuple[int, int, int] | str
"""Of a file: inode, bytes, nanoseconds of the last change; of an object: its ETag."""

SETTLED_S = 1.0
"""A file that changed so recently may change again without looking any different: a folder's clock
has steps of milliseconds, and a freed inode is given out again. Such a one is read every time."""


class Listings(Protocol):
    """Names and stamps of what is in a storage."""

    def look_again(self) -> None:
        """Whatever is asked from now on is as it is now."""
        ...

    def stamp(self, path: str) -> Stamp | None:
        """Tells versions of a file apart; None where that cannot be told."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; [] if there is none."""
        ...


def listings_of(store: Store) -> Listings:
    """Those of a folder, or of a bucket."""
    if isinstance(store.root, Path):
        return FolderListings(store, os.fspath(store.root))
    return BucketListings(store)


class FolderListings:
    """Asks the file system each time, which costs microseconds."""

    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self._root = root
        self._names: dict[str, tuple[Stamp, list[str]]] = {}

    def look_again(self) -> None:
        """Nothing is remembered that could be old."""

    def stamp(self, path: str) -> Stamp | None:
        try:
            stat = os.stat(f"{self._root}/{path}")  # noqa: PTH116  thousands of them
        except (FileNotFoundError, NotADirectoryError):
            return None
        if abs(time.time() - stat.st_mtime) < SETTLED_S:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def list(self, folder: str) -> list[str]:
        stamp = self.stamp(folder)
        known = self._names.get(folder)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        names = self._store.list(folder)
        if stamp is not None:
            self._names[folder] = (stamp, names)
        return names


class BucketListings:
    """One request tells of up to 1,000 objects, however deep below a folder, and of their ETags.

    A look asks once for each folder. What lies in no folder that it has asked for has no stamp: to
    ask whether one object has changed takes as long as to read it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.look_again()

    def look_again(self) -> None:
        self._known: set[str] = set()
        self._etags: dict[str, str] = {}
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def stamp(self, path: str) -> Stamp | None:
        return self._etags.get(path)

    def list(self, folder: str) -> list[str]:
        if not self._is_known(folder):
            self._ask(folder)
        return sorted(name for name in self._names.get(folder, ()) if not name.startswith("."))

    def _ask(self, folder: str) -> None:
        for name, file in self._store.sizes(folder).items():
            path = f"{folder}/{name}"
            self._etags[path] = file.version
            while path != folder:
                path, _, last = path.rpartition("/")
                self._names[path].add(last)
        self._known.add(folder)

    def _is_known(self, folder: str) -> bool:
        while folder and folder not in self._known:
            folder = folder.rpartition("/")[0]
        return bool(folder)
