"""How many steps a budget buys, and the learning rate of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mimlab.train.config import Budget, OptimizerConfig, TrainConfig


def steps_of_epochs(epochs: float | int, num_images: int, batch_size: int) -> int:
    """Steps after which each image has been read at least `epochs` times."""
    # A billionth of a batch is rounding error of the product, not an image.
    return max(1, math.ceil(epochs * num_images / batch_size - 1e-9))


def total_steps(budget: Budget, num_images: int, batch_size: int) -> int:
    """Steps of a budget in epochs, images or steps, rounded up to whole ones.

    Raises ValueError for tokens and hours: a trial that runs has steps in their place.
    """
    if budget.steps is not None:
        return budget.steps
    if budget.images is not None:
        return max(1, math.ceil(budget.images / batch_size))
    if budget.epochs is None:
        raise ValueError(f"a budget of {budget.asked} has not been frozen to steps")
    return steps_of_epochs(budget.epochs, num_images, batch_size)


def steps_of_amount(amount: float, per_step: float) -> int:
    """The fewest steps that spend an amount, at least one: never more than a step beyond it."""
    return max(1, math.ceil(amount / per_step - 1e-9))


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up from 0, then half a cosine down to `min_lr`; per step.

    As facebookresearch/mae, util/lr_sched.py. An objective of several stages has that in each.
    """

    peak_lr: float
    min_lr: float
    warmup_steps: int
    total_steps: int
    stages: int = 1

    def lr(self, step: int) -> float:
        """Learning rate of the step that is about to run, from 0."""
        stage_steps = math.ceil(self.total_steps / self.stages)
        step -= min(step // stage_steps, self.stages - 1) * stage_steps
        if step < self.warmup_steps:
            return self.peak_lr * step / self.warmup_steps
        left = max(1, stage_steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * (step - self.warmup_steps) / left))
        return self.min_lr + (self.peak_lr - self.min_lr) * cosine


@dataclass(frozen=True)
class DecaySchedule:
    """Half a cosine from `start` to `end` over the whole training; per step.

    As facebookresearch/ijepa, src/utils/schedulers.py (CosineWDSchedule).
    """

    start: float
    end: float
    total_steps: int

    def decay(self, step: int) -> float:
        """Weight decay of the step that is about to run, from 0."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.total_steps))
        return self.end + (self.start - self.end) * cosine


def decay_of(config: OptimizerConfig, total_steps: int) -> DecaySchedule:
    """The weight decay of a trial."""
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    return DecaySchedule(config.weight_decay, end, total_steps)


def schedule_of(config: TrainConfig, num_images: int, *, stages: int = 1) -> CosineSchedule:
    """The schedule of a trial; `lr = base_lr × batch_size ÷ 256`. Each stage warms up."""
    total = total_steps(config.budget, num_images, config.batch_size)
    warmup = math.floor(config.warmup_epochs * num_images / config.batch_size)
    return CosineSchedule(
        peak_lr=config.optimizer.base_lr * config.batch_size / 256,
        min_lr=config.min_lr,
        warmup_steps=min(warmup, math.ceil(total / stages) - 1),
        total_steps=total,
        stages=stages,
    )


def steps_every(
    every_epochs: float | None, num_images: int, batch_size: int, last: int
) -> set[int]:
    """Steps at which something is due every so many epochs, up to `last`, which is left out."""
    if every_epochs is None:
        return set()
    due: set[int] = set()
    count = 1
    while (step := steps_of_epochs(count * every_epochs, num_images, batch_size)) < last:
        due.add(step)
        count += 1
    return due
