"""How many visible tokens a step spends, known before it runs."""

from __future__ import annotations

import torch

from mimlab.spec.study import TrialSpec
from mimlab.train.build import build_masking
from mimlab.train.feed import Planner
from mimlab_objectives.backbones.vit import grid_of
from mimlab_objectives.masking.plan import Masking
from mimlab_objectives.objectives.base import Progress

BATCHES = 64
"""Batches that are planned for a mean, spread evenly over the training."""
IMAGES = 64
"""Images of each."""
COUPLED_BATCHES = 8
"""The same where images of a batch depend on each other, so that whole batches are planned."""


def visible_tokens_per_image(spec: TrialSpec) -> float:
    """Patches of an image that are not hidden, over its masks; `train/visible_tokens` counts so.

    Mask tokens do not count, whether the encoder processes them (`simmim`) or not (`mae`). The
    number is exact where a masking's count is. Else it is the mean over the masks of the first
    ids at even times of the training, which is the same for every seed. A masking that needs
    signals of the objective cannot plan beforehand: it counts with one mask and the patches that
    it is asked to hide.
    """
    grid = grid_of(spec.backbone, spec.data.image_size)
    masking = build_masking(spec, grid)
    if masking.requires:
        return float(grid[0] * grid[1] - masking.num_hidden)
    if masking.count == "exact":
        return _visible(masking, 0, 1, images=1)
    batches, images = BATCHES, IMAGES
    if masking.couples_batch:
        batches, images = COUPLED_BATCHES, spec.train.batch_size
    return sum(_visible(masking, step, batches, images) for step in range(batches)) / batches


def _visible(masking: Masking, step: int, batches: int, images: int) -> float:
    """Mean of one batch, whose ids no other batch has."""
    planner = Planner(masking, seed=0)
    ids = torch.arange(step * images, (step + 1) * images)
    keys = planner.keys(ids, torch.zeros_like(ids))
    plan = planner.plan(keys, Progress(step, step / batches))
    return int((~plan.hidden).sum()) / images
