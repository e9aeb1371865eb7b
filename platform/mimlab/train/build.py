"""A trial's parts, from its resolved configuration."""

from __future__ import annotations

import torch

from mimlab.spec.parts import register_parts
from mimlab.spec.study import TrialSpec
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.keys import key_of
from mimlab_objectives.masking.plan import Masking, maskings
from mimlab_objectives.objectives.base import Objective, objectives
from mimlab_objectives.targets.base import targets


def build_masking(trial: TrialSpec, grid: tuple[int, int]) -> Masking:
    """The masking of a trial. Raises ParamsError where it cannot hold on the grid."""
    register_parts()
    return maskings[trial.masking.name].part(trial.masking, grid)


def build_objective(trial: TrialSpec) -> Objective:
    """The objective with freshly initialised weights: a function of the trial's seed only."""
    register_parts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(trial.seed, "init"))
        backbone = VitBackbone(trial.backbone, trial.data.image_size)
        target = targets[trial.target.name].part(trial.target, backbone.patch_size, backbone.grid)
        return objectives[trial.objective.name].part(trial.objective, backbone, target)
