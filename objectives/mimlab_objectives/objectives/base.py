"""The contract between an objective and the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan, Signal
from mimlab_objectives.registry import Registry
from mimlab_objectives.targets.base import Target

EncoderMode = Literal["visible", "full", "corrupt"]
"""Whether the encoder sees kept patches only, all positions with mask tokens, or degraded input."""


@dataclass(frozen=True)
class Batch:
    """Images of one micro-batch on the training device, normalised; nothing else is guaranteed."""

    ids: Int[Tensor, " batch"]
    images: Float[Tensor, "batch 3 height width"]

    def __len__(self) -> int:
        return self.images.shape[0]

    def part(self, start: int, stop: int) -> Batch:
        """Images `start` to `stop`, e.g. a micro-batch."""
        return Batch(self.ids[start:stop], self.images[start:stop])


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int
    fraction: float
    """Spent ÷ budget, in [0, 1]; every schedule is a function of it."""


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss as (sum, count): sums and counts add over micro-batches and ranks, means do not."""

    loss_sum: Float[Tensor, ""]
    loss_count: Float[Tensor, ""]
    """Weighted number of predicted patches; the loss is loss_sum ÷ loss_count."""
    per_patch_loss: Float[Tensor, "batch rounds tokens"] | None = None
    """Detached loss of each patch, 0 where nothing is predicted; None if it does not decompose."""
    terms: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Named parts of the loss, each as (sum, count), detached."""
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars worth a curve; detached tensors, never `.item()`."""


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share an optimizer setting."""

    params: list[nn.Parameter]
    decay: bool
    """Whether weight decay applies."""
    lr_scale: float = 1.0


class Objective(nn.Module, ABC):
    """A pretext task. A subclass is constructed as `Subclass(params, backbone, target)`.

    Every parameter that trains and every buffer that the next step depends on is a parameter or a
    buffer of the module, so that `state_dict` is the whole state.
    """

    mode: ClassVar[EncoderMode]

    def __init__(self, params: Any, backbone: VitBackbone, target: Target) -> None:  # noqa: ARG002
        super().__init__()
        self.backbone = backbone
        self.target = target

    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:  # noqa: ARG002
        """What a masking asks for, before planning. Raises KeyError for what it cannot supply."""
        if names:
            raise KeyError(f"{type(self).__name__} supplies no signal; asked: {sorted(names)}")
        return {}

    @abstractmethod
    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:
        """The loss of one micro-batch."""

    @abstractmethod
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, for boards (evaluation mode)."""

    def after_step(self, progress: Progress) -> None:
        """Called once after each optimizer step (teacher updates, stage switches)."""

    def param_groups(self) -> list[ParamGroup]:
        """Weight decay on matrices only: off for biases, norms, tokens and positions.

        As in MAE and SimMIM (facebookresearch/mae, util/lr_decay.py; microsoft/SimMIM,
        optimizer.py): 1-D parameters and biases are not decayed, nor are learned position
        embeddings, class, register and mask tokens.
        """
        decayed, plain = [], []
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            leaf = name.rsplit(".", 1)[-1]
            exempt = parameter.ndim <= 1 or leaf.endswith(("token", "pos_embed", "bias"))
            (plain if exempt else decayed).append(parameter)
        return [ParamGroup(decayed, decay=True), ParamGroup(plain, decay=False)]


objectives: Registry[Objective] = Registry("objective")


def weighted_sum(
    per_patch: Float[Tensor, "batch rounds tokens"], plan: MaskPlan
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(sum, count) of a per-patch loss under a plan's weights, in float32."""
    weight = plan.weight.to(torch.float32)
    return (per_patch.float() * weight).sum(), weight.sum()
