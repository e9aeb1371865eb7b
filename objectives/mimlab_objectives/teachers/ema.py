"""A teacher that follows its student: an exponential moving average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class EmaTeacher(nn.Module, Generic[ModuleT]):
    """A copy of a module, in evaluation mode and without gradient; part of the state_dict.

    Construct it where the student is constructed, call `copy_from` in the objective's `after_init`
    and `update` in `after_step`.
    """

    def __init__(self, student: ModuleT) -> None:
        super().__init__()
        self.module: ModuleT = copy.deepcopy(student).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> EmaTeacher[ModuleT]:  # noqa: ARG002
        """A teacher stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def copy_from(self, student: nn.Module) -> None:
        """Take the student's weights and buffers as they are."""
        self.module.load_state_dict(student.state_dict())

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Weights become momentum · own + (1 − momentum) · student's; buffers are copied."""
        own: list[Tensor] = list(self.module.parameters())
        new: list[Tensor] = list(student.parameters())
        torch._foreach_lerp_(own, new, 1 - momentum)  # pyright: ignore[reportPrivateImportUsage]
        for mine, theirs in zip(self.module.buffers(), student.buffers(), strict=True):
            mine.copy_(theirs)


def cosine(start: float, end: float, fraction: float) -> float:
    """Half a cosine from `start` at fraction 0 to `end` at 1, as momenta and decays move."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def linear(start: float, end: float, fraction: float) -> float:
    """A straight line from `start` at fraction 0 to `end` at 1."""
    return start + (end - start) * fraction
