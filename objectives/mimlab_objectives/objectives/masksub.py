"""MaskSub: a supervised encoder whose masked copy learns from its unmasked one."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.labelled import LabelParams, image_features
from mimlab_objectives.targets.base import Target, TargetKind


class MaskSubParams(LabelParams):
    """The loss of both branches."""

    loss: Literal["ce", "bce"] = "ce"
    """`ce`: softmax cross-entropy; `bce`: a binary one for each class, averaged (DeiT III)."""


@objectives.register("masksub", params=MaskSubParams, paper="Heo et al., 2023 (arXiv:2306.11339)")
class MaskSub(Objective):
    """Half the loss of labels on whole images, half that of the kept patches on its own answer.

    After naver-ai/augsub: both branches have the same weights; the target of the masked one is the
    softmax (`bce`: sigmoid) of the whole image's logits, without gradient. The paper hides half of
    the patches at random and runs two backward passes; the gradient of the sum is the same. The
    loss is a mean over images, and over the masks of each. Mixing of images and labels, which its
    recipes use, is not part of it.
    """

    mode: ClassVar[EncoderMode] = "visible"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"latent"})
    uses_labels: ClassVar[bool] = True
    terms: ClassVar[tuple[str, ...]] = ("label", "sub")
    diagnostics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(self, params: MaskSubParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.binary = params.loss == "bce"
        self.head = nn.Linear(backbone.dim, params.num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch, over images. Raises ValueError if the plan's counts differ
        by image."""
        assert batch.labels is not None  # the loop gives them, since `uses_labels`
        main, sub = self.logits(batch, plan)
        labels = functional.one_hot(batch.labels, main.shape[-1]).float()
        answer = main.detach().sigmoid() if self.binary else main.detach().softmax(-1)
        label_loss = self._loss(main, labels)
        sub_loss = self._loss(sub, answer.unsqueeze(1)).mean(1)
        count = label_loss.new_tensor(len(batch))
        terms = {"label": (label_loss.sum(), count), "sub": (sub_loss.sum(), count)}
        accuracy = (main.argmax(-1) == batch.labels).float().mean()
        return ObjectiveOutput(
            (label_loss + sub_loss).sum() / 2,
            count,
            terms={name: (total.detach(), of) for name, (total, of) in terms.items()},
            diagnostics={"accuracy": accuracy},
        )

    def logits(
        self, batch: Batch, plan: MaskPlan
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch rounds classes"]]:
        """float32, of whole images and of their kept patches."""
        whole = self.backbone.encode_all(batch.images)
        kept = self.backbone.encode_visible(batch.images, plan)
        main, sub = (self.head(image_features(self.backbone, x)).float() for x in (whole, kept))
        return main, sub.unflatten(0, plan.hidden.shape[:2])

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Grey: nothing is predicted of a patch."""
        return batch.images.new_zeros(*plan.hidden.shape, 3 * self.backbone.patch_size**2)

    def _loss(
        self, logits: Float[Tensor, "*images classes"], wanted: Float[Tensor, "*answers classes"]
    ) -> Float[Tensor, "*images"]:
        wanted = wanted.expand_as(logits)
        if not self.binary:
            return -(wanted * logits.log_softmax(-1)).sum(-1)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return loss.mean(-1)
