"""What a replayed step is found to be."""

from __future__ import annotations

import math
from typing import Literal

from mimlab.storage.records import Record
from mimlab.train.watch import Flow

Same = Literal["yes", "no", "not recorded"]


class Sample(Record):
    """One sample of the batch."""

    id: int
    loss: float | None
    """Weighted mean over its patches; null where the loss does not decompose over patches."""

    @property
    def finite(self) -> bool:
        return self.loss is None or math.isfinite(self.loss)


class Replayed(Record):
    """One step of a trial, run again."""

    trial: str
    step: int
    """Counted from 0."""
    total_steps: int
    epoch: float
    start_step: int
    """Of the checkpoint that it was run from; 0: the beginning."""
    same_code: bool | None
    """Whether the code is that which wrote the checkpoint; null: that is not known."""
    notes: list[str]
    """What may keep the numbers from being the trial's, in words."""
    lr: float
    figures: dict[str, float]
    """`loss`, `grad_norm`, the objective's terms and diagnostics, and the others of a step."""
    scaler: dict[str, float]
    """State of the gradient scaler after the step; empty but in fp16."""
    recorded: Same
    """Whether the step is, to the last bit, what the trial's own files say of it."""
    points: int
    """Points of the curves that were passed on the way and are in the journal."""
    differing_points: list[int]
    """Those, by their steps, that are not equal to the journal's to the last bit."""
    skipped: int
    """Images of the batch that could not be read, for which others stand."""
    samples: list[Sample]
    """The batch, in its order."""
    bad_inputs: list[str]
    """Parts of the batch that are not finite, as the objective gets them."""
    bad_parameters: list[str]
    """Weights and buffers that were not finite before the step."""
    bad_gradients: list[str]
    """Weights whose gradient is not finite."""
    first_not_finite: Flow | None
    """The first module, in order of execution, whose output is not finite."""
    largest: list[Flow]
    """Modules with the largest outputs, the largest first."""

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are finite."""
        return math.isfinite(self.figures["loss"] + self.figures["grad_norm"])
