"""Boards of a trial: of its fixed images, while it trains or as it stands in the storage."""

from __future__ import annotations

import torch

from mimlab.data.builtin import resolve_images
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.spec.study import PRIOR, TrialSpec, trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.train.boards import BoardMaker
from mimlab.train.build import build_masking, build_objective
from mimlab.train.checkpoint import TrainingState, newest_checkpoint, read_checkpoint
from mimlab.train.feed import Planner
from mimlab.train.fixed_images import fixed_images
from mimlab.train.prior_maps import fixed_maps, followed_maps
from mimlab.train.stored import opened_store, recorded_samples, view_spec
from mimlab_objectives.objectives.base import Objective


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
    planner = Planner(build_masking(spec, objective.backbone.grid), spec.seed)
    board = board_maker(spec, objective, planner, data, count=count, device=torch.device("cpu"))
    return board.draw()(), state.step


def board_maker(
    spec: TrialSpec,
    objective: Objective,
    planner: Planner,
    data: DataSet,
    *,
    count: int,
    device: torch.device,
) -> BoardMaker:
    """Boards of `count` images of the probes' test split, with the maps that a masking follows.

    Of the training split, in their first recorded view, where a target is read from a token store:
    it has the codes of no others.
    """
    patch_size = objective.backbone.patch_size
    followed = followed_maps(planner.masking, spec.data.sidecars, data, patch_size)
    store = opened_store(spec.data, data)
    if store is not None:
        view = view_spec(spec, followed, store)
        shown = recorded_samples(data, spec.data.splits.train, view, count)
        return BoardMaker(
            objective,
            planner,
            shown.pixels,
            shown.ids,
            device,
            maps=shown.maps.get(PRIOR),
            stored=shown.stored,
        )
    chosen = data, spec.data.splits.probe_test, spec.data.image_size, count
    images, ids = fixed_images(*chosen)
    maps = None if followed is None else fixed_maps(followed, *chosen)
    return BoardMaker(objective, planner, images, ids, device, maps=maps)


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
