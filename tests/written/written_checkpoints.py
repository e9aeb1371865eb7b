"""Checkpoints as a run leaves them, written without one."""

from __future__ import annotations

from typing import Any

import torch

from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import CheckpointManifest, StatusRecord
from mimlab.train.build import build_objective
from mimlab.train.checkpoint import TrainingState, write_checkpoint
from mimlab.train.optimizer import build_optimizer

DIGITS = 1438
"""Of the digits' training split: four fifths of each class."""


def state_of(
    step: int, objective: dict[str, Any], optimizer: dict[str, Any] | None = None
) -> TrainingState:
    """Nothing is pending, and nothing was skipped."""
    return TrainingState(
        step=step,
        objective=objective,
        optimizer=optimizer or {},
        scaler={},
        pending=torch.zeros(0, 1),
        skipped=0,
        visible_tokens=400.0 * step,
    )


def manifest_of(step: int, epoch: float) -> CheckpointManifest:
    """Of the first driver, whose journal is empty."""
    return CheckpointManifest(
        step=step,
        epoch=epoch,
        files={},
        sizes={},
        fence=1,
        code_fingerprint="code",
        journal_seq=0,
        next_batch_hash="",
    )


def write_stopped(trial: TrialFolder, step: int, total_steps: int = 24) -> TrainingState:
    """A checkpoint as if the trial had trained so far, and was stopped: all weights are
    step ÷ 1000."""
    spec = trial_spec(trial.record().resolved)
    objective = build_objective(spec)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.fill_(step / 1000)
    optimizer = build_optimizer(objective, spec.train.optimizer)
    state = state_of(step, dict(objective.state_dict()), optimizer.state_dict())
    write_checkpoint(trial, state, manifest_of(step, step * spec.train.batch_size / DIGITS))
    trial.write_status(
        StatusRecord(state="stopped", step=step, total_steps=total_steps, reason="for a test")
    )
    return state
