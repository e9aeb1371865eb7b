"""CAPI: predict to which cluster, found on the way, the teacher assigns each hidden patch."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    EncoderMode,
    ObjectiveOutput,
    ParamGroup,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.pictures import feature_pixels
from mimlab_objectives.objectives.placed import placed_output
from mimlab_objectives.objectives.taught import TaughtByAverage
from mimlab_objectives.predictors.places import hidden_ids, in_place, of_places
from mimlab_objectives.predictors.query import QueryPredictor, heads_of
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target
from mimlab_objectives.teachers.ema import EmaTeacher, cosine, linear
from mimlab_objectives.teachers.latents import SPREAD, spread
from mimlab_objectives.teachers.sinkhorn import balanced_assignments

_STUDENT_TEMPERATURE = 0.12
_BALANCE_TEMPERATURE = 0.06
_ITERATIONS = 3
_CLUSTER_LR = 0.5  # 5e-4 of 1e-3
_PATCH_EMBED_LR = 0.2
_NORM_DECAY = 0.1


class CapiParams(Params):
    """Predictor, clusters and teacher; the defaults are those of the released ViT-L/14."""

    num_clusters: int = Field(default=16_384, ge=2)
    """Clusters. They are balanced over the batch of a micro-step, at each position of the grid:
    far more clusters than images (over all ranks) leave most of them empty. The paper has as many
    as images in a batch; keep them within a factor of ten."""
    positionwise: bool = True
    """Whether clusters are balanced at each position of the grid; otherwise over all patches."""
    predictor_depth: int = Field(default=12, ge=1, le=256)
    """Blocks of the predictor, which has the encoder's channels and heads."""
    momentum: float = Field(default=0.999, ge=0, le=1)
    """Least momentum of the teacher: 1 at the start, this after `momentum_warmup`, then along a
    cosine to 1."""
    momentum_warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training after which the momentum is least."""


@objectives.register("capi", params=CapiParams, paper="Darcet et al., 2025 (arXiv:2502.08769)")
class Capi(TaughtByAverage):
    """Predicts the balanced cluster assignments of a slow copy of the encoder, patch by patch.

    After facebookresearch/capi: the teacher, an exponential average of the encoder, sees whole
    images; a linear layer on its features of length 1 clusters them by a loss of its own, the
    cross-entropy between assignments that Sinkhorn-Knopp balances (temperature .06, 3 iterations)
    and its softmax (.12), over all patches; queries that see the kept patches but not each other
    predict the assignments of hidden patches (.12). The paper hides 65 % around one rolled block
    and asks for 5 % of the patches: a plan's `groups` or its weights say which.

    `train/loss` is the student's; the clustering loss is `train/term/clustering` and moves its own
    layer alone. It departs from the paper in positions (sine-cosine, seen by every crossing
    attention, instead of rotary), prefix and norms (timm's), the cosine (not cut at 80 %), one
    optimizer for both losses, and in that the trained encoder is what is probed, not its average.
    Raises ParamsError if the encoder's channels are no multiple of 4.
    """

    mode: ClassVar[EncoderMode] = "visible"
    loss_scope: ClassVar[Literal["patch", "image", "batch"]] = "batch"
    terms: ClassVar[tuple[str, ...]] = ("clustering",)
    diagnostics: ClassVar[tuple[str, ...]] = (*SPREAD, "cluster_entropy")

    def __init__(self, params: CapiParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self._positionwise = params.positionwise
        self._momentum, self._warmup = params.momentum, params.momentum_warmup
        backbone.set_sincos_positions()
        self.predictor = QueryPredictor(
            backbone.dim,
            backbone.dim,
            grid=backbone.grid,
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=backbone.dim,
            depth=params.predictor_depth,
            num_heads=heads_of(backbone),
            attend="cross",
        )
        self.head = CosineHead(backbone.dim, params.num_clusters)
        self.clusters = nn.Linear(backbone.dim, params.num_clusters)
        nn.init.normal_(self.clusters.weight)
        nn.init.zeros_(self.clusters.bias)
        self.teacher = EmaTeacher(backbone)

    def momentum(self, fraction: float) -> float:
        """Of the teacher when `fraction` of the training is done."""
        if fraction < self._warmup:
            return linear(1.0, self._momentum, fraction / self._warmup)
        return cosine(self._momentum, 1.0, (fraction - self._warmup) / (1 - self._warmup))

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        ids = plan.groups.flatten(1) if plan.groups is not None else hidden_ids(plan)
        features = self.teach(batch.images)
        logits = self.clusters(features).float()
        assigned = balanced_assignments(
            logits.detach() / _BALANCE_TEMPERATURE, _ITERATIONS, positionwise=self._positionwise
        )
        clustering = _cross_entropy(logits, assigned)  # (batch, tokens)
        prediction = self._predict(batch, plan, ids)
        wanted = of_places(assigned.repeat_interleave(plan.hidden.shape[1], 0), ids)
        errors = _cross_entropy(self.head(prediction).float(), wanted)
        usage = assigned.mean((0, 1))
        output = placed_output(
            errors,
            ids,
            plan,
            diagnostics={
                **spread(features, prediction),
                "cluster_entropy": torch.special.entr(usage).sum(),
            },
        )
        return _learning_too(output, clustering)

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Colours of the predicted features of all hidden patches."""
        ids = hidden_ids(plan)
        predicted = in_place(self._predict(batch, plan, ids), ids, plan)
        return feature_pixels(predicted, plan.hidden, self.backbone.patch_size)

    @torch.no_grad()
    def teach(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The teacher's features of each patch of whole images, of length 1."""
        encoded = self.teacher.module.encode_all(images)
        return functional.normalize(encoded[:, self.backbone.num_prefix_tokens :].float(), dim=-1)

    def param_groups(self) -> list[ParamGroup]:
        """The patch projection learns five times slower and the clusters two times; norms decay at
        a tenth of the rate; biases, tokens and positions do not."""
        norms = {
            id(parameter)
            for module in self.modules()
            if isinstance(module, nn.LayerNorm)
            for parameter in module.parameters()
        }
        groups: list[ParamGroup] = []
        for group in super().param_groups():
            for parameter in group.params:
                decay = group.decay or id(parameter) in norms
                scale = _NORM_DECAY if id(parameter) in norms else 1.0
                groups.append(ParamGroup([parameter], decay, self._lr_scale(parameter), scale))
        return _joined(groups)

    def _lr_scale(self, parameter: nn.Parameter) -> float:
        if any(parameter is own for own in self.clusters.parameters()):
            return _CLUSTER_LR
        of_patches = self.backbone.vit.patch_embed.parameters()
        return _PATCH_EMBED_LR if any(parameter is own for own in of_patches) else 1.0

    def _predict(
        self, batch: Batch, plan: MaskPlan, ids: Int[Tensor, "rows places"]
    ) -> Float[Tensor, "rows places dim"]:
        encoded = self.backbone.encode_visible(batch.images, plan)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        return self.predictor(encoded, plan.kept_ids.flatten(0, 1), ids)


class CosineHead(nn.Linear):
    """Cosines between features and one vector for each cluster."""

    def __init__(self, dim: int, num_clusters: int) -> None:
        super().__init__(dim, num_clusters, bias=False)
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(
        self,
        input: Float[Tensor, "rows places dim"],  # noqa: A002  (torch's name)
    ) -> Float[Tensor, "rows places clusters"]:
        """Numbers between -1 and 1."""
        return functional.linear(
            functional.normalize(input, dim=-1), functional.normalize(self.weight, dim=-1)
        )


def _cross_entropy(
    logits: Float[Tensor, "rows places clusters"], assigned: Float[Tensor, "rows places clusters"]
) -> Float[Tensor, "rows places"]:
    return -(assigned * (logits / _STUDENT_TEMPERATURE).log_softmax(-1)).sum(-1)


def _learning_too(
    output: ObjectiveOutput, clustering: Float[Tensor, "batch tokens"]
) -> ObjectiveOutput:
    """The same loss, whose gradient is also that of the clusters' own mean loss.

    Scaled by the count, since gradients of sums are divided by it.
    """
    own = clustering.mean() * output.loss_count
    return replace(
        output,
        loss_sum=output.loss_sum + (own - own.detach()),
        terms={
            "clustering": (clustering.detach().sum(), clustering.new_tensor(clustering.numel()))
        },
    )


def _joined(groups: list[ParamGroup]) -> list[ParamGroup]:
    """Groups of equal settings as one."""
    joined: dict[tuple[bool, float, float], ParamGroup] = {}
    for group in groups:
        key = group.decay, group.lr_scale, group.decay_scale
        if key in joined:
            joined[key].params.extend(group.params)
        else:
            joined[key] = group
    return list(joined.values())
