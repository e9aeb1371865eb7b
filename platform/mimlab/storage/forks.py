"""Which checkpoints of a trial its forks are still to start from: they outlive newer ones."""

from __future__ import annotations

from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import Record


class ForkRecord(Record):
    """In `<trial>/forks/<fork's id>.json`, until the fork has a checkpoint of its own."""

    step: int


def announce(parent: TrialFolder, fork_id: str, step: int) -> None:
    """Keep the checkpoint of a step for a fork."""
    parent.store.write_record(_path(parent, fork_id), ForkRecord(step=step))


def begun(parent: TrialFolder, fork_id: str) -> None:
    """The fork goes on by itself from now on. May be said more than once."""
    parent.store.remove(_path(parent, fork_id))


def awaited_steps(parent: TrialFolder) -> set[int]:
    """Steps whose checkpoints are kept for forks."""
    store, folder = parent.store, parent.file("forks")
    records = [store.read_record(f"{folder}/{name}", ForkRecord) for name in store.list(folder)]
    return {record.step for record in records if record is not None}


def _path(parent: TrialFolder, fork_id: str) -> str:
    return parent.file(f"forks/{fork_id}.json")
