"""Where a fork begins: at a checkpoint of another trial, with all of its state or its encoder."""

from __future__ import annotations

import hashlib

import torch

from mimlab.errors import TrialError
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import TrialRecord
from mimlab.train.checkpoint import TrainingState, manifest_path, read_checkpoint
from mimlab.train.export import ENCODER_PREFIX
from mimlab.train.log import LogValue
from mimlab.train.stepper import Stepper
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.objectives.base import Objective


def checkpoint_hash(trial: TrialFolder, step: int) -> str:
    """sha256 of a checkpoint's manifest. Raises FileNotFoundError where there is none."""
    return hashlib.sha256(trial.store.read(manifest_path(trial, step))).hexdigest()


def parents_state(fork: TrialFolder, record: TrialRecord) -> TrainingState:
    """The state that a fork starts from. Raises TrialError where it is gone or another one."""
    assert record.start is not None and record.parent is not None
    assert record.parent_step is not None
    parent, step = TrialFolder(fork.store, record.parent), record.parent_step
    found = read_checkpoint(parent, step)
    if found is None or checkpoint_hash(parent, step) != record.start.checkpoint:
        raise TrialError(
            "failed",
            f"the checkpoint of step {step} of trial {parent.id}, which this fork starts from, is "
            "gone or has changed; fork that trial again",
        )
    return found[0]


def take_encoder(backbone: VitBackbone, state: TrainingState) -> None:
    """The encoder's weights, and nothing else."""
    backbone.vit.load_state_dict(
        {
            name.removeprefix(ENCODER_PREFIX): tensor
            for name, tensor in state.objective.items()
            if name.startswith(ENCODER_PREFIX)
        }
    )


def take_state(
    objective: Objective, optimizer: torch.optim.Optimizer, stepper: Stepper, state: TrainingState
) -> None:
    """Everything that the next step depends on, but for what the fork's own study says: settings
    of the optimizer, and the scaler where the parent had another precision."""
    own = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    objective.load_state_dict(state.objective)
    optimizer.load_state_dict(state.optimizer)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
    if state.scaler.keys() == stepper.scaler.state_dict().keys():
        stepper.scaler.load_state_dict(state.scaler)


def fork_details(record: TrialRecord) -> dict[str, LogValue]:
    """What a fork's log says where it begins."""
    start = record.start
    assert start is not None
    return {
        "parent": record.parent,
        "parent_step": record.parent_step,
        "step": start.step,
        "takes": start.takes,
        "reads_on": start.reads_on,
        "drift": start.drift,
    }
