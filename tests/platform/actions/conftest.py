"""Submissions that were written and not run, checkpoints of them, and something to launch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from mimlab.spec.study import trial_spec
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import CheckpointManifest, StatusRecord, TrialState
from mimlab.train.build import build_objective
from mimlab.train.checkpoint import TrainingState, write_checkpoint
from mimlab.train.optimizer import build_optimizer

IMAGES = 1438
"""Of the digits' training split: four fifths of each class."""
AXES = "sweep={axes: {masking.ratio: [0.5, 0.75]}}"


class Launched(NamedTuple):
    """One start that was asked for."""

    submission_id: str
    words: list[str]
    files: dict[str, bytes]
    """Of the package that went along."""


class Recorder:
    """A launcher that starts nothing, and says that what it started waits."""

    def __init__(self) -> None:
        self.launched: list[Launched] = []
        self.states: dict[str, str] = {}
        self.stopped: list[str] = []

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        files: dict[str, bytes] = {}
        if working_dir is not None:
            with zipfile.ZipFile(working_dir) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        self.launched.append(Launched(submission_id, words, files))
        self.states[submission_id] = "pending"

    def state(self, submission_id: str) -> str | None:
        return self.states.get(submission_id)

    def log_tail(self, submission_id: str, lines: int) -> str:
        return "waiting"[:lines] if submission_id in self.states else ""

    def page(self, submission_id: str) -> None:
        """It has none."""

    def stop(self, submission_id: str) -> None:
        self.stopped.append(submission_id)
        self.states[submission_id] = "ended"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def submission(tmp_path: Path, create_tiny: Callable[..., Any]) -> SubmissionFolder:
    """Two trials that nobody has begun to run."""
    return create_tiny(tmp_path, AXES).submission


@pytest.fixture
def driven() -> Callable[[SubmissionFolder], Any]:
    """Meanwhile, this process is the driver."""

    @contextmanager
    def hold(submission: SubmissionFolder) -> Iterator[lease.Lease]:
        own = lease.acquire(submission)
        for trial in submission.trials():
            lease.claim(trial, submission)
        yield own
        own.release()

    return hold


@pytest.fixture
def stands() -> Callable[..., None]:
    """Writes where a trial stands."""

    def write(trial: TrialFolder, state: TrialState, **more: Any) -> None:
        trial.write_status(StatusRecord(state=state, **more))

    return write


@pytest.fixture
def checkpointed() -> Callable[..., TrainingState]:
    """Writes a checkpoint of a trial as if it had trained so far: all weights are step ÷ 1000."""

    def write(trial: TrialFolder, step: int, total_steps: int = 24) -> TrainingState:
        record = trial.record()
        spec = trial_spec(record.resolved)
        objective = build_objective(spec)
        with torch.no_grad():
            for parameter in objective.parameters():
                parameter.fill_(step / 1000)
        optimizer = build_optimizer(objective, spec.train.optimizer)
        state = TrainingState(
            step=step,
            objective=dict(objective.state_dict()),
            optimizer=optimizer.state_dict(),
            scaler={},
            pending=torch.zeros(0, 1),
            skipped=0,
            visible_tokens=400.0 * step,
        )
        manifest = CheckpointManifest(
            step=step,
            epoch=step * spec.train.batch_size / IMAGES,
            files={},
            sizes={},
            fence=1,
            code_fingerprint="code",
            journal_seq=0,
            next_batch_hash="",
        )
        write_checkpoint(trial, state, manifest)
        trial.write_status(
            StatusRecord(state="stopped", step=step, total_steps=total_steps, reason="for a test")
        )
        return state

    return write
