"""Files that nobody needs: broken off, left behind, or no longer referred to."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mimlab.retention.rules import Kind
from mimlab.retention.snapshot import COMMITTED_BY, steps_of
from mimlab.spec.paths import CONTENT_PREFIX
from mimlab.storage.files import REMOVED, FileSize
from mimlab.storage.folders import step_name
from mimlab.storage.store import Store
from mimlab.storage.weights import weights_path

YOUNG_S = 3600.0
"""Younger files may belong to a command that is at work, such as one that writes a submission."""

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}$")
"""Names that `LocalFiles` gives while it writes or removes."""
_KINDS: tuple[Kind, ...] = ("checkpoints", "exports")


@dataclass(frozen=True)
class Orphan:
    """A file or folder that may go."""

    path: str
    """Below the storage; a folder of this machine where `local`."""
    num_bytes: int
    why: str
    local: bool = False
    committed_by: str = ""
    """Of half a folder: the file, written last, that would make it a whole one."""

    def remove(self, store: Store) -> bool:
        """Whether it went; half a folder stays where somebody writes to it by now, or did."""
        if self.local:
            shutil.rmtree(self.path, ignore_errors=True)
            return True
        if self.committed_by and not _is_half(store.sizes(self.path), self.committed_by, clock_s()):
            return False
        store.remove(self.path)
        return True


def broken_off(folder: str, sizes: dict[str, FileSize], now_s: float) -> Iterator[Orphan]:
    """What a process that died left half-written, or half-removed, in a folder; `sizes` is what
    `Store.sizes` says of it."""
    for path, num_bytes in _temporary(sizes, now_s).items():
        yield Orphan(f"{folder}/{path}", num_bytes, "half-written or half-removed")
    for kind in _KINDS:
        for step, files in steps_of(sizes, kind).items():
            if _is_half(files, COMMITTED_BY[kind], now_s):
                path, why = f"{folder}/{kind}/{step_name(step)}", f"half of {kind[:-1]}"
                yield Orphan(path, _total(files), why, committed_by=COMMITTED_BY[kind])


def unused_weights(store: Store, referring: Iterable[bytes], now_s: float) -> Iterator[Orphan]:
    """Weights to start from that none of the texts, of trials and submissions, refers to."""
    texts = list(referring)
    for name, size in store.sizes("weights").items():
        sha256 = name.partition(".")[0]
        used = any(f"{CONTENT_PREFIX}{sha256}".encode() in text for text in texts)
        if weights_path(sha256) == f"weights/{name}" and not used and _old(size, now_s):
            yield Orphan(f"weights/{name}", size.num_bytes, "weights that no trial starts from")


def ray_files(store: Store, submission_ids: Iterable[str]) -> Iterator[Orphan]:
    """What Ray wrote for submissions that nobody drives, or that are gone: it holds no results."""
    for name in submission_ids:
        folder = store.scratch("ray") / name
        if folder.is_dir():
            total = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            yield Orphan(str(folder), total, "Ray's own files of a run that is over", local=True)


def ray_names(store: Store) -> list[str]:
    """The submissions that Ray has files of on this machine."""
    folder = Path(store.scratch("ray"))
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def unfinished_submission(path: str, sizes: dict[str, FileSize], now_s: float) -> Iterator[Orphan]:
    """The folder of a submission whose record, written last, was never written."""
    commit = "submission.json"
    if _is_half(sizes, commit, now_s):
        yield Orphan(path, _total(sizes), "half-written submission", committed_by=commit)


def _is_half(files: Mapping[str, FileSize], commit: str, now_s: float) -> bool:
    """Whether a folder was never committed, and nobody is about to."""
    return commit not in files and all(_old(size, now_s) for size in files.values())


def _total(files: Mapping[str, FileSize]) -> int:
    return sum(size.num_bytes for size in files.values())


def _temporary(sizes: dict[str, FileSize], now_s: float) -> dict[str, int]:
    """Temporary files and folders, by path, with what they take."""
    found: dict[str, int] = {}
    for path, size in sizes.items():
        parts = path.split("/")
        at = next((i for i, part in enumerate(parts) if _TEMPORARY.fullmatch(part)), None)
        if at is None or not (parts[at].startswith(REMOVED) or _old(size, now_s)):
            continue
        name = "/".join(parts[: at + 1])
        found[name] = found.get(name, 0) + size.num_bytes
    return found


def _old(size: FileSize, now_s: float) -> bool:
    return now_s - size.modified_s > YOUNG_S


def clock_s() -> float:
    """Unix seconds; a clock that is set back makes files look young, so that they stay."""
    return time.time()
