"""Checkpoints: everything that the next step depends on, committed by a manifest written last.

A folder without a manifest, or whose files do not match it, does not exist; the one before it is
used. Saving copies the state to host memory in the training thread and writes it in another.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from mimlab.storage.folders import TrialFolder, step_name
from mimlab.storage.records import CheckpointManifest
from mimlab.train.threads import single_threaded

STATE_FILE = "state.pt"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds, as `state_dict`s and plain numbers."""

    step: int
    """Steps done: the next step to run."""
    objective: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    pending: Tensor
    """(steps, figures) since the last point of the curves: see `mimlab.train.meter`."""
    skipped: int
    """Unreadable images replaced so far."""
    visible_tokens: float
    """Patches that the encoder saw so far."""


def to_host(value: Any) -> Any:
    """A copy of a tree of containers whose tensors lie in host memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: to_host(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_host(item) for item in value)
    return value


def manifest_path(trial: TrialFolder, step: int) -> str:
    return trial.file(f"checkpoints/{step_name(step)}/{MANIFEST_FILE}")


def write_checkpoint(
    trial: TrialFolder,
    state: TrainingState,
    manifest: CheckpointManifest,
    before_commit: Callable[[], None] = lambda: None,
) -> CheckpointManifest:
    """Write the state, then the manifest that commits it. `manifest` comes without hashes.

    `before_commit` raises if it must not be committed any more: writing the state takes its time.
    """
    folder = trial.file(f"checkpoints/{step_name(state.step)}")
    written = trial.store.write_by(f"{folder}/{STATE_FILE}", lambda file: _save(state, file))
    committed = manifest.model_copy(
        update={
            "files": {STATE_FILE: written.sha256.hexdigest()},
            "sizes": {STATE_FILE: written.num_bytes},
        }
    )
    before_commit()
    trial.store.write_sealed(manifest_path(trial, state.step), committed)
    return committed


class _Hashed:
    """What torch.save writes to: a file whose bytes are hashed on their way, so that a second copy
    of the state, which costs more than hashing it, is never in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(data)
        self.num_bytes += len(data)
        return written

    def flush(self) -> None:
        """The file is flushed by whoever opened it."""


def _save(state: TrainingState, file: BinaryIO) -> _Hashed:
    hashed = _Hashed(file)
    try:
        # Of a file torch.save asks for these two methods alone, whatever its type says.
        torch.save(vars(state), cast(BinaryIO, hashed))
    except RuntimeError:
        # torch tells of its position in the file, not of a full disk.
        if hashed.error is None:
            raise
    if hashed.error is not None:
        raise hashed.error
    return hashed


def read_checkpoint(
    trial: TrialFolder, step: int
) -> tuple[TrainingState, CheckpointManifest] | None:
    """The checkpoint of `step`, None if it is torn, corrupt or not there.

    Nothing of a state whose hash is not the manifest's is loaded.
    """
    found = read_committed(trial, step)
    if found is None:
        return None
    data, manifest = found
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return TrainingState(**state), manifest


def read_committed(trial: TrialFolder, step: int) -> tuple[bytes, CheckpointManifest] | None:
    """The file of the checkpoint of `step`, None if it is torn, corrupt or not there."""
    manifest = trial.store.read_sealed(manifest_path(trial, step), CheckpointManifest)
    if manifest is None:
        return None
    try:
        data = trial.store.read(trial.file(f"checkpoints/{step_name(step)}/{STATE_FILE}"))
    except FileNotFoundError:
        return None
    whole = hashlib.sha256(data).hexdigest() == manifest.files.get(STATE_FILE)
    return (data, manifest) if whole else None


def newest_checkpoint(
    trial: TrialFolder, on_unusable: Callable[[int], None], *, up_to: int | None = None
) -> tuple[TrainingState, CheckpointManifest] | None:
    """The newest usable checkpoint, of step `up_to` at most where that is given.

    `on_unusable` is told the steps of those that are not usable.
    """
    for step in reversed(trial.steps("checkpoints")):
        if up_to is not None and step > up_to:
            continue
        found = read_checkpoint(trial, step)
        if found is not None:
            return found
        on_unusable(step)
    return None


class BackgroundWriter:
    """Runs one write at a time in a thread, so that training goes on meanwhile."""

    def __init__(self) -> None:
        self._executor = single_threaded("checkpoint")
        self._pending: Future[None] | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Start a write after the one before it, whose error, if any, is raised here."""
        self.wait()
        self._pending = self._executor.submit(write)

    def free(self, within_s: float) -> bool:
        """Whether no write is pending, or the one that is ends within that time."""
        pending = self._pending
        return pending is None or bool(futures.wait([pending], timeout=within_s).done)

    def wait(self) -> None:
        """Wait for the pending write. Raises its error."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Wait for the pending write and end the thread."""
        try:
            self.wait()
        finally:
            self._executor.shutdown()


def prune(trial: TrialFolder, *, keep_last: int, keep_steps: set[int]) -> None:
    """Remove checkpoints but the newest `keep_last` and those in `keep_steps`.

    To be called with no write under way: what has no manifest then is torn, and goes too.
    """
    steps = trial.steps("checkpoints")
    whole = [step for step in steps if trial.store.exists(manifest_path(trial, step))]
    kept = keep_steps.intersection(whole) | set(whole[-keep_last:])
    for step in steps:
        if step not in kept:
            discard(trial, step)


def discard(trial: TrialFolder, step: int) -> None:
    """Remove a checkpoint; its manifest first, so that what is left is never taken for one."""
    trial.store.remove(manifest_path(trial, step))
    trial.store.remove(trial.file(f"checkpoints/{step_name(step)}"))
