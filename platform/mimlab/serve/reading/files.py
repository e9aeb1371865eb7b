"""Files of a storage, parsed once for each version of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mimlab.serve.reading.listings import Stamp, listings_of
from mimlab.storage.records import Record
from mimlab.storage.store import Store

RecordT = TypeVar("RecordT", bound=Record)
ValueT = TypeVar("ValueT")

BUCKET_THREADS = 32


class CachedFiles:
    """Reads records and listings, again only where they have changed; in a bucket many at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._threads = 1 if isinstance(store.root, Path) else BUCKET_THREADS
        self._listings = listings_of(store)
        self._values: dict[tuple[str, Hashable], tuple[Stamp, Any]] = {}

    def look_again(self) -> None:
        """Show from now on what has changed until now."""
        self._listings.look_again()

    def stamp(self, path: str) -> Stamp | None:
        """Tells versions of a file apart; None where that cannot be told."""
        return self._listings.stamp(path)

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; [] if there is none."""
        return self._listings.list(folder)

    def expect(self, folders: Sequence[str]) -> None:
        """They are about to be listed: a bucket is asked for all of them at once."""
        if self._threads > 1:
            self._each(folders, self.list)

    def parsed(self, path: str, parse: Callable[[bytes], ValueT]) -> ValueT | None:
        """What `parse` makes of a file, None if there is none. Raises what `parse` raises."""

        def read() -> ValueT | None:
            try:
                return parse(self.store.read(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

        return self._fresh(path, parse, read)

    def texts(self, paths: Sequence[str]) -> list[str]:
        """What stands in each of many files; empty for one that is not there."""
        found = self._each(paths, lambda path: self.parsed(path, _text))
        return [text or "" for text in found]

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
        if self._threads == 1 or len(paths) < 2:
            return [read(path) for path in paths]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(read, paths))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
