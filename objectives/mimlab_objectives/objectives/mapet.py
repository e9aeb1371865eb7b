"""Predictions along a random order of the patches: MaPeT, and PIM without its mask tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimlab_objectives.backbones.two_streams import Rows, check_blocks, two_streams
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.keys import bits, fold, key_of
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.losses import RegressionLoss, patch_losses
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target

_ORDER = key_of("order of the targets")


class PermutedParams(Params):
    """The loss; the head is one linear layer."""

    loss: RegressionLoss | None = None
    """Of vectors; null: squared error. Classes have their cross-entropy, the paper's."""


class Permuted(Objective):
    """Predicts the patches that are not kept, one after the other in an order drawn by the key.

    Context are the kept patches; the others are targets, and each is predicted from the context and
    the targets before it. Initial weights are timm's, which are those of aimagelab/MaPeT,
    models/mapet/mapet.py: matrices, positions and mask token truncated-normal with 0.02, class
    token normal with 1e-6. LayerScale of 0.1 is `backbone.layer_scale`. Unlike there, weight decay
    spares the mask token. Raises ParamsError for models whose blocks are not plain.
    """

    mode: ClassVar[EncoderMode] = "permuted"
    mask_keys: ClassVar[bool]
    """Whether mask tokens stand for targets that come later."""

    def __init__(self, params: PermutedParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        check_blocks(backbone)
        self.loss: RegressionLoss = params.loss or "mse"
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        self.head = nn.Linear(backbone.dim, target.dim)
        for weight in (self.mask_token, self.head.weight):
            nn.init.trunc_normal_(weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch, of those predicted patches that are no context.

        Raises ValueError if the plan's counts differ by image.
        """
        order = target_order(plan)
        prediction = self.predict(batch.images, plan, order)
        image = torch.arange(len(batch), device=order.device)[:, None, None]
        target = self.target.of(batch)[image, order].flatten(0, 1)
        losses = patch_losses(prediction.unsqueeze(1), target, self.loss).view(order.shape)
        per_patch = losses.new_zeros(plan.hidden.shape).scatter(2, order, losses)
        asked = torch.zeros_like(plan.hidden).scatter(2, order, True)
        plan = replace(plan, predicted=plan.predicted & asked, weight=plan.weight * asked)
        return patchwise_output(per_patch, plan)

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Every patch as if it came first: predicted from the kept ones alone."""
        order = target_order(plan)
        images, rounds, tokens = plan.hidden.shape
        every = torch.arange(tokens, device=order.device).expand(images * rounds, -1)
        prediction = self._streams(batch.images, plan, order, every)
        return self.target.to_pixels(prediction.unflatten(0, (images, rounds)), batch.images)

    def predict(
        self,
        images: Float[Tensor, "batch 3 height width"],
        plan: MaskPlan,
        order: Int[Tensor, "batch rounds targets"],
    ) -> Float[Tensor, "batch_rounds targets target_dim"]:
        """Predictions of the targets, in the order that is given."""
        return self._streams(images, plan, order, None)

    def _streams(
        self,
        images: Float[Tensor, "batch 3 height width"],
        plan: MaskPlan,
        order: Int[Tensor, "batch rounds targets"],
        first: Int[Tensor, "batch_rounds queries"] | None,
    ) -> Float[Tensor, "batch_rounds queries target_dim"]:
        """Predictions of the patches `first`, each as the first of its order, or of the targets."""
        given = plan if first is not None else _with_targets(plan, order)
        content = self.backbone.embed_visible(images, given, self.mask_token)
        masks = self._mask_tokens(order.flatten(0, 1))
        queries = masks if first is None else self._mask_tokens(first)
        keys = [masks, content] if self.mask_keys else [content]
        rows = Rows(
            masks=masks.shape[1] if self.mask_keys else 0,
            context=self.backbone.num_prefix_tokens + plan.hidden.shape[2] - order.shape[2],
            queries=queries.shape[1],
            ordered=first is None,
        )
        sequence = torch.cat([*keys, queries], dim=1)
        encoded = two_streams(self.backbone.blocks, sequence, rows)
        return self.head(self.backbone.finish(encoded))

    def _mask_tokens(
        self, ids: Int[Tensor, "batch_rounds tokens"]
    ) -> Float[Tensor, "batch_rounds tokens dim"]:
        """The mask token at the positions of patches."""
        tokens = self.mask_token.expand(*ids.shape, -1)
        return self.backbone.embed(tokens, ids)[:, self.backbone.num_prefix_tokens :]


@objectives.register(
    "mapet", params=PermutedParams, paper="Baraldi et al., 2023 (arXiv:2306.07346)"
)
class Mapet(Permuted):
    """Masked and permuted: a target sees earlier targets, and mask tokens for the later ones.

    After aimagelab/MaPeT, models/mapet/mapet.py and utils/models.py, in a layout in which one
    static mask serves every image. Each row sees every position once, as content or as a mask
    token. The paper predicts `tokens` of k-CLIP, 8192 of them, 75 % of the patches (its code's
    default) chosen at random.
    """

    mask_keys: ClassVar[bool] = True


@objectives.register("pim", params=PermutedParams, paper="Baraldi et al., 2023 (arXiv:2306.07346)")
class Pim(Permuted):
    """Permuted only: a target sees earlier targets and knows nothing of the later ones.

    As XLNet (arXiv:1906.08237). The authors' code of this baseline is not public: it is MaPeT
    without the mask tokens as keys, the reading that MPNet's code shares (microsoft/MPNet,
    masked_permutation_net.py).
    """

    mask_keys: ClassVar[bool] = False


def target_order(plan: MaskPlan) -> Int[Tensor, "batch rounds targets"]:
    """Ids of the patches that are not kept, in an order drawn by the image's key.

    The rounds of an image share one order of all its patches. Raises ValueError if the plan's
    counts differ by image.
    """
    if plan.kept_ids is None:
        raise ValueError("this masking hides a different number of patches in each image")
    tokens = plan.hidden.shape[2]
    draws = bits(fold(plan.keys, _ORDER), tokens).unsqueeze(1).expand(plan.hidden.shape)
    last = torch.iinfo(draws.dtype).max
    order = draws.scatter(2, plan.kept_ids, last).argsort(dim=2)
    return order[:, :, : tokens - plan.kept_ids.shape[2]]


def _with_targets(plan: MaskPlan, order: Int[Tensor, "batch rounds targets"]) -> MaskPlan:
    """The plan with the targets' content after that of the context."""
    assert plan.kept_ids is not None  # `target_order` refuses other plans
    replaced = plan.replaced
    if replaced is not None:
        replaced = torch.cat([replaced, torch.zeros_like(order, dtype=torch.bool)], dim=2)
    return replace(plan, kept_ids=torch.cat([plan.kept_ids, order], dim=2), replaced=replaced)
