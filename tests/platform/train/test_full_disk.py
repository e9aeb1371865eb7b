"""A disk that is full while a trial trains: nothing is half-written, nothing is lost."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mimlab.data.segments import Place
from mimlab.storage import lease
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.patience import OutOfPatience
from mimlab.storage.records import StatusRecord
from mimlab.train.checkpoint import newest_checkpoint, read_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.session import Session

PATIENCE_S = 200.0


class Training:
    """A session whose storage is waited for, as that of a worker is."""

    def __init__(self, made, wait_s: float) -> None:
        self.held = lease.acquire(made.submission)
        self.at_once: TrialFolder = made.trial
        store = made.trial.store.patient(wait_s)
        trial = TrialFolder(store, made.trial.id)
        self.session = Session(made.worker(self.held.fence), trial, Place(), torch.device("cpu"))

    def until(self, seen: Callable[[StatusRecord], bool], then: Callable[[], object]) -> None:
        """Wait, in another thread, for a status; then do something."""

        def wait() -> None:
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline and not seen(self.at_once.status()):
                time.sleep(0.05)
            then()

        threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def training(tmp_path: Path, ray_local: None, create_tiny) -> Callable[..., Training]:
    def build(*changes: str, wait_s: float = PATIENCE_S) -> Training:
        return Training(create_tiny(tmp_path, *changes), wait_s)

    return build


def weights(trial: TrialFolder) -> dict[str, torch.Tensor]:
    found = newest_checkpoint(trial, on_unusable=lambda step: pytest.fail(f"step {step}"))
    assert found is not None
    return found[0].objective


def curve(trial: TrialFolder) -> list[tuple[int, int, dict[str, float]]]:
    points = read_points(trial.store, trial.file("journal"))
    kept = [{k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS} for p in points]
    return [(p.seq, p.step, m) for p, m in zip(points, kept, strict=True)]


def events(trial: TrialFolder) -> list[str]:
    store, path = trial.store, trial.file("log.jsonl")
    names = store.list(path)
    texts = [store.read(f"{path}/{name}") for name in names] or [store.read(path)]
    return [json.loads(line)["event"] for text in texts for line in text.splitlines()]


def same_end(trial: TrialFolder, other: TrialFolder) -> None:
    assert curve(trial) == curve(other)
    ours, theirs = weights(trial), weights(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def fill(folder: Path, leave: int) -> Path:
    """A file that takes all but so many bytes."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(0, os.statvfs(folder).f_bavail * 4096 - leave)))
    return ballast


def test_a_run_pauses_while_the_disk_is_full_and_goes_on_by_itself(
    training, small_disk, tmp_path: Path
) -> None:
    disk = small_disk(64 << 20)
    full = training(f"storage={disk}/results")
    ballast = fill(disk, leave=120_000)  # for the small files, not for a checkpoint
    seen: list[StatusRecord] = []

    def paused(status: StatusRecord) -> bool:
        return "the disk is full" in status.reason

    def make_room() -> None:
        seen.append(full.at_once.status())
        time.sleep(2.5)
        seen.append(full.at_once.status())
        ballast.unlink()

    full.until(paused, make_room)
    assert full.session.run().state == "finished"
    assert all("`mimlab gc`" in status.reason for status in seen)
    assert seen[0].heartbeat < seen[1].heartbeat and seen[0].step == seen[1].step
    assert [file for file in full.at_once.store.sizes("") if "/." in file] == []
    assert full.at_once.status().reason == ""
    said = events(full.at_once)
    assert said.index("storage full") < said.index("storage is back")
    full.held.release()
    quiet = training(f"storage={tmp_path}/quiet")
    assert quiet.session.run().state == "finished"
    same_end(full.at_once, quiet.at_once)


def test_a_disk_that_stays_full_ends_the_run_which_can_be_resumed(training, small_disk) -> None:
    disk = small_disk(64 << 20)
    full = training(f"storage={disk}/results", wait_s=2.0)
    ballast = fill(disk, leave=0)
    with pytest.raises(OutOfPatience, match=r"the disk is full; waited 0\.03"):
        full.session.run()
    assert full.at_once.steps("checkpoints") == [] or all(
        read_checkpoint(full.at_once, step) for step in full.at_once.steps("checkpoints")
    )
    ballast.unlink()
    full.held.release()
    again = training(f"storage={disk}/results")
    assert again.session.run().state == "finished"
    assert [seq for seq, _, _ in curve(again.at_once)] == [1, 2, 3, 4, 5]
