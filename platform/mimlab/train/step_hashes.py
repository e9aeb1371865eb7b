"""What a trial's steps read and hide, as functions of the step: by this a resume is checked."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Int64

from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.train.feed import Planner
from mimlab_objectives.objectives.base import Progress


class StepHashes:
    """Hashes of global batches and their masks; nothing is read for them."""

    def __init__(self, split: Split, plan: ReadPlan, planner: Planner, total_steps: int) -> None:
        """`planner` takes what it is asked for as a whole batch."""
        self._split, self._plan = split, plan
        self._planner, self._total = planner, total_steps

    @property
    def with_masks(self) -> bool:
        """Masks that follow a signal are made of the next batch's pixels, maps or features, which
        are not there when a checkpoint is taken."""
        return not self._planner.masking.requires

    def of(self, step: int) -> str:
        """sha256 of the sample ids and epochs of global batch `step`, and of its masks where they
        follow no signal."""
        ids, epochs = samples_of_step(self._split, self._plan, step)
        digest = hashlib.sha256(ids.tobytes() + epochs.tobytes())
        if self.with_masks:
            keys = self._planner.keys(torch.from_numpy(ids), torch.from_numpy(epochs))
            plan = self._planner.plan(keys, Progress(step, step / self._total))
            digest.update(np.packbits(plan.hidden.numpy()).tobytes())
        return digest.hexdigest()


def samples_of_step(
    split: Split, plan: ReadPlan, step: int
) -> tuple[Int64[np.ndarray, " batch"], Int64[np.ndarray, " batch"]]:
    """Ids and epochs of global batch `step`."""
    rows, epochs = plan.batch(step)
    return split.ids(rows), epochs
