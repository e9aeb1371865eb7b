"""A checkpoint exists whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import CheckpointManifest
from mimlab.storage.store import Store
from mimlab.train.checkpoint import (
    BackgroundWriter,
    TrainingState,
    newest_checkpoint,
    prune,
    read_checkpoint,
    to_host,
    write_checkpoint,
)


@pytest.fixture
def trial(tmp_path: Path) -> TrialFolder:
    return TrialFolder(Store(tmp_path), "trial")


def state_of(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        objective={"weight": torch.full((3,), float(step))},
        optimizer={"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        scaler={},
        pending=torch.zeros(2, 7),
        skipped=1,
        visible_tokens=5.0,
    )


def manifest_of(step: int) -> CheckpointManifest:
    return CheckpointManifest(
        step=step,
        epoch=step / 10,
        files={},
        sizes={},
        fence=1,
        code_fingerprint="code",
        journal_seq=step,
        next_batch_hash=f"batch {step}",
    )


def write(trial: TrialFolder, *steps: int) -> None:
    for step in steps:
        write_checkpoint(trial, state_of(step), manifest_of(step))


def file_of(trial: TrialFolder, step: int, name: str) -> Path:
    return trial.store.scratch(trial.file(f"checkpoints/step_{step:09d}/{name}"))


def newest(trial: TrialFolder) -> tuple[int | None, list[int]]:
    """The step of the newest usable checkpoint, and those that are not usable."""
    unusable: list[int] = []
    found = newest_checkpoint(trial, on_unusable=unusable.append)
    return (found[0].step if found else None), unusable


def test_what_is_written_is_read_back(trial: TrialFolder) -> None:
    write(trial, 7)
    found = read_checkpoint(trial, 7)
    assert found is not None
    state, manifest = found
    assert torch.equal(state.objective["weight"], torch.full((3,), 7.0))
    assert state.optimizer["param_groups"] == [{"lr": 0.1}]
    assert (state.skipped, state.visible_tokens, state.pending.shape) == (1, 5.0, (2, 7))
    assert (manifest.next_batch_hash, manifest.journal_seq) == ("batch 7", 7)
    assert manifest.sizes["state.pt"] == file_of(trial, 7, "state.pt").stat().st_size


@pytest.mark.parametrize("room", [0, 100_000, 3_900_000])
def test_a_disk_that_fills_up_while_saving_is_said_so_and_waited_for(
    small_disk: Callable[[int], Path], room: int
) -> None:
    folder = small_disk(12 << 20)
    trial = TrialFolder(Store(folder), "trial")
    write(trial, 5)
    ballast = folder / "ballast"
    disk = os.statvfs(folder)
    ballast.write_bytes(bytes(disk.f_bavail * disk.f_bsize - room))
    large = replace(state_of(10), objective={"weight": torch.arange(1_000_000.0)})
    with pytest.raises(OSError, match="No space") as caught:
        write_checkpoint(trial, large, manifest_of(10))
    assert caught.value.errno == errno.ENOSPC
    assert newest(trial)[0] == 5
    threading.Timer(1.0, ballast.unlink).start()
    patient = TrialFolder(trial.store.patient(60.0), "trial")
    write_checkpoint(patient, large, manifest_of(10))
    found = read_checkpoint(trial, 10)
    assert found is not None
    assert torch.equal(found[0].objective["weight"], torch.arange(1_000_000.0))
    assert [name for name in trial.store.sizes("") if "/." in name] == []


def test_without_checkpoints_there_is_none(trial: TrialFolder) -> None:
    assert newest(trial) == (None, [])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def disown(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))


FAULTS = {
    "torn manifest": ("manifest.json", cut),
    "empty manifest": ("manifest.json", lambda path: path.write_bytes(b"")),
    "manifest that is no text": ("manifest.json", lambda path: path.write_bytes(b"\xff\xfe{")),
    "manifest that names no file": ("manifest.json", disown),
    "no manifest": ("manifest.json", Path.unlink),
    "no state": ("state.pt", Path.unlink),
    "torn state": ("state.pt", cut),
    "state with another hash": ("state.pt", flip),
}


@pytest.mark.parametrize(("name", "spoil"), FAULTS.values(), ids=FAULTS.keys())
def test_a_spoiled_checkpoint_does_not_exist(trial: TrialFolder, name: str, spoil) -> None:
    write(trial, 5, 10, 15)
    spoil(file_of(trial, 15, name))
    assert read_checkpoint(trial, 15) is None
    assert newest(trial) == (10, [15])


def test_a_write_that_broke_off_before_its_manifest_does_not_exist(trial: TrialFolder) -> None:
    write(trial, 5)
    trial.store.write(trial.file("checkpoints/step_000000010/state.pt"), b"half of")
    assert newest(trial) == (5, [10])


def test_writing_a_step_again_replaces_it(trial: TrialFolder) -> None:
    write(trial, 5)
    flip(file_of(trial, 5, "state.pt"))
    write(trial, 5)
    assert newest(trial) == (5, [])


@given(
    steps=st.sets(st.integers(1, 99), max_size=8),
    keep_last=st.integers(1, 4),
    best=st.sets(st.integers(1, 99), max_size=3),
)
def test_pruning_keeps_the_newest_and_the_best(tmp_path_factory, steps, keep_last, best) -> None:
    trial = TrialFolder(Store(tmp_path_factory.mktemp("prune")), "trial")
    for step in steps:
        trial.store.write(trial.file(f"checkpoints/step_{step:09d}/manifest.json"), b"{}")
    prune(trial, keep_last=keep_last, keep_steps=best)
    assert trial.steps("checkpoints") == sorted({*sorted(steps)[-keep_last:], *(best & steps)})


def test_pruning_takes_what_is_torn_and_does_not_count_it(trial: TrialFolder) -> None:
    write(trial, 1, 2, 3)
    file_of(trial, 3, "manifest.json").unlink()
    prune(trial, keep_last=1, keep_steps={3})
    assert trial.steps("checkpoints") == [2]


def test_pruning_takes_the_manifest_first(
    trial: TrialFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(trial, 1, 2, 3)
    removed: list[str] = []
    remove = trial.store.remove

    def watched(path: str) -> None:
        removed.append(path)
        remove(path)

    monkeypatch.setattr(trial.store, "remove", watched)
    prune(trial, keep_last=2, keep_steps=set())
    folder = trial.file("checkpoints/step_000000001")
    assert removed == [f"{folder}/manifest.json", folder]
    assert newest(trial) == (3, [])


def test_the_copy_on_the_host_does_not_follow_the_weights() -> None:
    weights = {"a": [torch.zeros(2), (torch.zeros(1), "name")], "b": 3}
    copy = to_host(weights)
    weights["a"][0].add_(1)
    assert torch.equal(copy["a"][0], torch.zeros(2))
    assert copy["a"][1][1:] == ("name",)
    assert copy["b"] == 3


def fail() -> None:
    raise OSError("no space left")


def test_the_error_of_a_write_is_raised_at_the_next_one() -> None:
    writer = BackgroundWriter()
    writer.submit(fail)
    with pytest.raises(OSError, match="no space left"):
        writer.submit(lambda: None)
    writer.close()


def test_the_error_of_the_last_write_is_raised_at_the_end_and_once() -> None:
    writer = BackgroundWriter()
    writer.submit(fail)
    with pytest.raises(OSError, match="no space left"):
        writer.close()
    writer.wait()


def test_writes_happen_beside_training_one_after_the_other() -> None:
    writer = BackgroundWriter()
    go, done = threading.Event(), []
    writer.submit(lambda: (go.wait(10), done.append(1))[1])
    assert done == []
    go.set()
    writer.submit(lambda: done.append(2))
    writer.close()
    assert done == [1, 2]
