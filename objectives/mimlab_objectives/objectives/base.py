"""The contract between an objective and the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import Application, MaskPlan, Signal
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.registry import Registry
from mimlab_objectives.targets.base import Target, TargetKind

EncoderMode = Literal["visible", "full", "corrupt", "permuted"]
"""Whether the encoder sees kept patches only, all positions with mask tokens, degraded input, or
every patch as far as attention lets it (two streams over a permutation)."""

TakesReplaced = Literal["always", "if asked", "never"]
"""`if asked`: where the parameter `encoder_mask_token` is true."""


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
    """Learning rate as a multiple of the study's."""
    decay_scale: float = 1.0
    """Weight decay as a multiple of the study's, where it applies."""


class Objective(nn.Module, ABC):
    """A pretext task. A subclass is constructed as `Subclass(params, backbone, target)`.

    Every parameter that trains and every buffer that the next step depends on is a parameter or a
    buffer of the module, so that `state_dict` is the whole state.
    """

    mode: ClassVar[EncoderMode]
    applications: ClassVar[frozenset[Application]] = frozenset({"hide"})
    """What maskings may do to the input."""
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"pixels", "vectors", "classes"})
    """What it can predict."""
    supplies: ClassVar[frozenset[Signal]] = frozenset()
    """Signals that `signals` can give to a masking."""
    uses_labels: ClassVar[bool] = False
    """Whether it needs the labels of the images, every one of them."""
    terms: ClassVar[tuple[str, ...]] = ()
    """Names of the parts of the loss that every output has in its `terms`."""
    patch_term: ClassVar[str | None] = None
    """Which of `terms` is the sum of `per_patch_loss`; None: the whole loss is."""
    diagnostics: ClassVar[tuple[str, ...]] = ()
    """Names of the scalars that every output has in its `diagnostics`."""
    loss_scope: ClassVar[Literal["patch", "image", "batch"]] = "patch"
    """What the loss of a patch is compared within: itself, the patches of its image, or the images
    of its micro-batch on all ranks."""
    stages: int = 1
    """Equal parts of the training, in each of which the learning rate begins anew."""

    def __init__(self, params: Any, backbone: VitBackbone, target: Target) -> None:  # noqa: ARG002
        super().__init__()
        self.backbone = backbone
        self.target = target

    @classmethod
    def supplies_with(cls, params: Any) -> frozenset[Signal]:  # noqa: ARG003
        """What it supplies with these parameters: `supplies`, or less."""
        return cls.supplies

    @classmethod
    def needs_equal_counts(cls) -> bool:
        """Whether every image of a batch must keep equally many patches."""
        return cls.mode in ("visible", "permuted")

    @classmethod
    def takes_replaced(cls) -> TakesReplaced:
        """Whether mask tokens may stand for kept patches in its encoder (`MaskPlan.replaced`)."""
        return "always" if cls.mode == "full" else "never"

    def after_init(self) -> None:
        """Called once, when the weights are those that training starts from: copy them here, not
        in the constructor, into teachers. What a checkpoint holds is loaded afterwards."""

    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
        """Those of `supplies` that a masking asks for, before it plans; without gradient."""
        raise NotImplementedError(f"{type(self).__name__} supplies no signal")

    @abstractmethod
    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:
        """The loss of one micro-batch."""

    @abstractmethod
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixels of every patch, for boards (evaluation mode)."""

    def after_step(self, progress: Progress) -> None:
        """Called once after each optimizer step (teacher updates, stage switches); `progress` is
        that of the step that has ended."""

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
