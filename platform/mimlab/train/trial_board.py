"""The board of a trial as it stands in the storage, whoever trained it and where."""

from __future__ import annotations

import torch

from mimlab.data.builtin import resolve_images
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.train.boards import BoardMaker
from mimlab.train.build import build_masking, build_objective
from mimlab.train.checkpoint import TrainingState, newest_checkpoint, read_checkpoint
from mimlab.train.feed import Planner
from mimlab.train.fixed_images import fixed_images


def trial_board(trial: TrialFolder, *, step: int | None, count: int) -> tuple[bytes, int]:
    """(PNG, step) of `count` images of the probes' test split, on this machine's CPU.

    From the newest usable checkpoint, or that of `step`. Exports hold the encoder alone, which
    predicts nothing. Raises UserError where there is no such checkpoint.
    """
    spec = trial_spec(trial.record().resolved)
    state = _state(trial, step)
    objective = build_objective(spec)
    objective.load_state_dict(state.objective)
    objective.eval()
    data = DataSet.open(resolve_images(spec.data.images, trial.store.scratch("data")))
    images, ids = fixed_images(data, spec.data.splits.probe_test, spec.data.image_size, count)
    planner = Planner(build_masking(spec, objective.backbone.grid), spec.seed)
    board = BoardMaker(objective, planner, images, ids, torch.device("cpu"))
    return board.draw()(), state.step


def _state(trial: TrialFolder, step: int | None) -> TrainingState:
    if step is None:
        found = newest_checkpoint(trial, on_unusable=lambda _step: None)
    else:
        found = read_checkpoint(trial, step)
    if found is None:
        steps = ", ".join(map(str, trial.steps("checkpoints"))) or "none"
        wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
        status = trial.status()
        raise UserError(
            f"trial {trial.id} has no usable {wanted}; it is {status.state} at step {status.step} "
            f"(checkpoints: {steps})"
        )
    return found[0]
