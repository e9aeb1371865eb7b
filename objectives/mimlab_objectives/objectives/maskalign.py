"""MaskAlign: a student that sees some patches agrees there with a teacher that sees all."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone, is_plain
from mimlab_objectives.backbones.xavier import init_matrix
from mimlab_objectives.masking.plan import MaskPlan, Signal
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    ParamGroup,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.pictures import feature_pixels
from mimlab_objectives.predictors.places import in_place, of_places
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.teachers.attention import teacher_attention
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.latents import SPREAD, smooth_l1, spread, whiten
from mimlab_objectives.teachers.signals import encoder_signals
from mimlab_objectives.teachers.weights import TeacherParams


class MaskAlignParams(Params):
    """Teacher and how many of its blocks count; the defaults are those of the released ViT-B."""

    teacher: TeacherParams = TeacherParams(name="vit_base_patch16_clip_224", weights="timm")
    """The frozen network whose features are learned."""
    top_layers: int = Field(default=5, ge=1)
    """Last blocks of the teacher that the student agrees with; 1 for a network whose stages have
    different grids."""


@objectives.register(
    "maskalign", params=MaskAlignParams, paper="Xue et al., 2022 (arXiv:2211.08887)", revision=2
)
class MaskAlign(Objective):
    """Encodes the kept patches; mixtures of its blocks' outputs match the teacher's last blocks.

    After OpenDriveLab/maskalign, models_pretrain.py: the teacher sees whole images, the student the
    kept patches, and nothing is decoded. A learned matrix (identity + .01) mixes the outputs of all
    student blocks for each teacher block, one linear layer takes the mixture to the teacher's
    channels, whose features are normalised; twice the smooth L1, at the kept patches and the class
    token, over the last teacher blocks. Positions are fixed sine-cosine and weights start as MAE's.
    The final norm of the encoder is not trained, since no loss reaches it.

    The loss counts where patches are kept, so a plan's `predicted` and `weight` do not matter. The
    paper keeps 30 % of the patches by the teacher's attention (masking `attentive`) and its teacher
    is CLIP: other teachers are variants, and only plain vision transformers tell their attention.
    Raises ParamsError as FrozenTeacher, and where the student has fewer blocks, or the teacher
    fewer layers of the encoder's grid, than `top_layers`.
    """

    mode: ClassVar[EncoderMode] = "visible"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"latent"})
    supplies: ClassVar[frozenset[Signal]] = frozenset({"teacher_attention", "features"})
    terms: ClassVar[tuple[str, ...]] = ("patches", "class_token")
    patch_term: ClassVar[str | None] = "patches"
    diagnostics: ClassVar[tuple[str, ...]] = SPREAD

    def __init__(self, params: MaskAlignParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        self.teacher = FrozenTeacher(params.teacher, backbone.grid)
        theirs, own, top = self.teacher, len(backbone.blocks), params.top_layers
        if top > min(own, theirs.num_alike):
            layers = f"the teacher {theirs.num_alike} last layers of one grid and width"
            message = f"the encoder has {own} blocks and {layers}: {top} is more than one of them"
            raise ParamsError("top_layers", message)
        backbone.set_sincos_positions()
        backbone.apply(init_matrix)
        backbone.vit.norm.requires_grad_(False)
        self._class_token = theirs.has_class_token and backbone.vit.cls_token is not None
        self.mixing = nn.Parameter(torch.eye(own)[own - top :] + 0.01)
        self.adaptors = nn.ModuleList([nn.Linear(backbone.dim, theirs.dim) for _ in range(top)])
        self.adaptors.apply(init_matrix)

    @classmethod
    def supplies_with(cls, params: MaskAlignParams) -> frozenset[Signal]:
        """No attention of a teacher that is no plain vision transformer."""
        plain = is_plain(params.teacher.name)
        return cls.supplies if plain else cls.supplies - {"teacher_attention"}

    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
        """The encoder's features, the teacher's attention."""
        of_encoder = names - {"teacher_attention"}
        own = self.backbone
        found = encoder_signals(of_encoder, batch.images, encoder=own, teacher=own)
        if "teacher_attention" in names:
            found["teacher_attention"] = teacher_attention(self.teacher, batch.images)
        return found

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        students = self._predict(batch, plan)  # (top, rows, class token and kept, dim)
        teachers = self.teach(batch.images, plan)
        errors = 2 * smooth_l1(students, teachers, beta=1.0).mean(0)  # (rows, class token and kept)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        first = int(self._class_token)
        found = errors.detach()
        at_kept = in_place(found[:, first:, None], plan.kept_ids.flatten(0, 1), plan)
        parts = {"patches": found[:, first:], "class_token": found[:, :first]}
        return ObjectiveOutput(
            errors.sum(),
            errors.new_tensor(float(errors.numel())),
            per_patch_loss=at_kept.squeeze(-1),
            terms={
                name: (part.sum(), part.new_tensor(float(part.numel())))
                for name, part in parts.items()
            },
            diagnostics=spread(teachers[-1][:, first:], students[-1][:, first:]),
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Colours of the student's last features where patches are kept; nothing elsewhere."""
        assert plan.kept_ids is not None
        features = self._predict(batch, plan)[-1][:, int(self._class_token) :]
        predicted = in_place(features, plan.kept_ids.flatten(0, 1), plan)
        colours = feature_pixels(predicted, ~plan.hidden, self.backbone.patch_size)
        return torch.where(plan.hidden.unsqueeze(-1), 0.0, colours)

    @torch.no_grad()
    def teach(
        self, images: Float[Tensor, "batch 3 height width"], plan: MaskPlan
    ) -> Float[Tensor, "top rows places dim"]:
        """Normalised outputs of the teacher's last blocks, at the class token and kept patches."""
        assert plan.kept_ids is not None
        first, rounds = self.teacher.num_prefix_tokens, plan.hidden.shape[1]
        kept_ids = plan.kept_ids.flatten(0, 1)
        layers: list[Tensor] = []
        for layer in self.teacher.layers(images, len(self.adaptors)):
            whole = whiten(layer).repeat_interleave(rounds, 0)
            at_kept = of_places(whole[:, first:], kept_ids)
            layers.append(torch.cat([whole[:, : int(self._class_token)], at_kept], dim=1))
        return torch.stack(layers)

    def param_groups(self) -> list[ParamGroup]:
        """As usual, but the mixing matrix does not decay either."""
        decayed, plain = super().param_groups()
        rest = [parameter for parameter in decayed.params if parameter is not self.mixing]
        return [ParamGroup(rest, decay=True), ParamGroup([*plain.params, self.mixing], decay=False)]

    def _predict(self, batch: Batch, plan: MaskPlan) -> Float[Tensor, "top rows places dim"]:
        sequence = self.backbone.embed_visible(batch.images, plan)
        outputs: list[Tensor] = []
        for block in self.backbone.blocks:
            sequence = block(sequence)
            outputs.append(sequence)
        prefix = self.backbone.num_prefix_tokens
        mixed = torch.einsum("ts,srpd->trpd", self.mixing, torch.stack(outputs))
        places = torch.cat([mixed[:, :, : int(self._class_token)], mixed[:, :, prefix:]], dim=2)
        return torch.stack([layer(x) for layer, x in zip(self.adaptors, places, strict=True)])
