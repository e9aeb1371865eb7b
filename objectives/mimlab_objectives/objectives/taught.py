"""Objectives whose target is what a moving average of their own encoder sees."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import Signal
from mimlab_objectives.objectives.base import Objective, Progress
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.targets.base import TargetKind
from mimlab_objectives.teachers.ema import EmaTeacher
from mimlab_objectives.teachers.signals import encoder_signals


class TaughtByAverage(Objective):
    """A subclass makes `teacher` of its encoder once that has its initial weights."""

    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"latent"})
    supplies: ClassVar[frozenset[Signal]] = frozenset({"teacher_attention", "features"})
    teacher: EmaTeacher[VitBackbone]

    @abstractmethod
    def momentum(self, fraction: float) -> float:
        """Of the teacher when `fraction` of the training is done."""

    def after_init(self) -> None:
        """The teacher starts as the encoder does."""
        self.teacher.copy_from(self.backbone)

    def after_step(self, progress: Progress) -> None:
        """The teacher follows."""
        self.teacher.update(self.backbone, self.momentum(progress.fraction))

    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
        """The encoder's features, the teacher's attention."""
        teacher = self.teacher.module
        return encoder_signals(names, batch.images, encoder=self.backbone, teacher=teacher)
