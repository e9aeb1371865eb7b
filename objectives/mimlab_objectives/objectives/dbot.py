"""dBOT: reconstruct a frozen teacher's features; then the student becomes the teacher."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.backbones.xavier import init_matrix
from mimlab_objectives.keys import key_of
from mimlab_objectives.masking.plan import MaskPlan, Signal
from mimlab_objectives.objectives.base import (
    EncoderMode,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.objectives.patchwise import patchwise_output
from mimlab_objectives.objectives.pictures import feature_pixels
from mimlab_objectives.predictors.decoder import MaeDecoder
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.teachers.ema import EmaTeacher
from mimlab_objectives.teachers.latents import SPREAD, smooth_l1, spread, standardise
from mimlab_objectives.teachers.signals import encoder_signals


class DBotParams(Params):
    """Stages, teacher and decoder; the defaults are those of the released ViT-B."""

    stages: int = Field(default=2, ge=1)
    """Equal parts of the training, each with a new student and a frozen teacher."""
    teacher_depth: int | None = Field(default=None, ge=0, le=256)
    """Blocks of the teacher that run; null: all. At 0 its embedded patches are the target (ViT-L
    and ViT-H)."""
    class_token: bool | None = None
    """Whether the class token is predicted too and counts as a patch; null: where there is one."""
    beta: float = Field(default=2.0, gt=0)
    """Error at which the loss turns from squared to absolute."""
    decoder_depth: int = Field(default=8, ge=1, le=256)
    """Blocks of the decoder."""
    decoder_width: int = Field(default=512, ge=4)
    """Channels of the decoder: a multiple of 4 and of `decoder_heads`."""
    decoder_heads: int = Field(default=16, ge=1)
    """Attention heads of the decoder."""


@objectives.register("dbot", params=DBotParams, paper="Liu et al., 2022 (arXiv:2209.03917)")
class DBot(Objective):
    """MAE's encoder and decoder predict the features of a teacher that is the student before.

    After liuxingbin/dbot: the first teacher is a copy of the untrained encoder. Its output before
    the final norm, standardised over the channels, is predicted for hidden patches and the class
    token; smooth L1. At the start of each later stage the student becomes the teacher and is drawn
    anew, and the learning rate begins again; the optimizer's moments stay, as in the released code.

    The switch depends on the step alone and the new weights on a number that was drawn with the
    first ones, so that a resume anywhere gives the same training. A training of fewer steps than
    twice its stages has no switch after its very first step. Raises ParamsError if encoder or
    decoder have channels that positions or heads cannot divide, for a teacher deeper than the
    encoder, and for a class token that the encoder does not have.
    """

    mode: ClassVar[EncoderMode] = "visible"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"latent"})
    supplies: ClassVar[frozenset[Signal]] = frozenset({"teacher_attention", "features"})
    terms: ClassVar[tuple[str, ...]] = ("patches", "class_token")
    patch_term: ClassVar[str | None] = "patches"
    diagnostics: ClassVar[tuple[str, ...]] = SPREAD

    def __init__(self, params: DBotParams, backbone: VitBackbone, target: Target) -> None:
        super().__init__(params, backbone, target)
        depth, has_class = len(backbone.blocks), backbone.vit.cls_token is not None
        if (params.teacher_depth or 0) > depth:
            raise ParamsError(
                "teacher_depth", f"the encoder has {depth} blocks, not {params.teacher_depth}"
            )
        if params.class_token and not has_class:
            raise ParamsError("class_token", "the encoder has no class token; leave it at null")
        self.stages = params.stages
        self._teacher_depth = depth if params.teacher_depth is None else params.teacher_depth
        self._class_token = has_class if params.class_token is None else params.class_token
        self._beta = params.beta
        self.decoder = MaeDecoder(
            backbone.dim,
            backbone.dim,
            grid=backbone.grid,
            num_prefix_tokens=backbone.num_prefix_tokens,
            width=params.decoder_width,
            depth=params.decoder_depth,
            num_heads=params.decoder_heads,
        )
        self.seed: Tensor
        self.register_buffer("seed", torch.randint(2**62, ()))
        self._draw_student()
        self.teacher = EmaTeacher(backbone)

    def after_init(self) -> None:
        """The first teacher is the untrained encoder."""
        self.teacher.copy_from(self.backbone)

    def after_step(self, progress: Progress) -> None:
        """Where a stage has ended, the student becomes the teacher and is drawn anew."""
        stage = self._stage_that_begins(progress)
        if stage is None:
            return
        self.teacher.copy_from(self.backbone)
        devices = [self.seed.device] if self.seed.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(key_of(int(self.seed), "stage", stage))
            self._draw_student()

    def signals(self, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
        """The encoder's features, the teacher's attention."""
        teacher = self.teacher.module
        return encoder_signals(names, batch.images, encoder=self.backbone, teacher=teacher)

    def forward(self, batch: Batch, plan: MaskPlan, progress: Progress) -> ObjectiveOutput:  # noqa: ARG002
        """The loss of one micro-batch. Raises ValueError if the plan's counts differ by image."""
        prefix = self.backbone.num_prefix_tokens
        prediction = self._predict(batch, plan, prefix_too=self._class_token)
        target = self.teach(batch.images)
        first = 0 if self._class_token else prefix
        wanted = target[:, first:].unsqueeze(1).expand_as(prediction)
        errors = smooth_l1(prediction, wanted, self._beta)
        patches = errors[:, :, prefix - first :]
        diagnostics = spread(target[:, prefix:], prediction.flatten(0, 1)[:, prefix - first :])
        output = patchwise_output(patches, plan, diagnostics=diagnostics)
        # The class token is the first of the prefix; registers are not predicted.
        others = errors[:, :, 0] if self._class_token else errors[:, :, :0]
        loss_sum, count = others.sum(), errors.new_tensor(float(others.numel()))
        return replace(
            output,
            loss_sum=output.loss_sum + loss_sum,
            loss_count=output.loss_count + count,
            terms={
                "patches": (output.loss_sum.detach(), output.loss_count),
                "class_token": (loss_sum.detach(), count),
            },
        )

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, plan: MaskPlan
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Colours of the predicted features."""
        prediction = self._predict(batch, plan, prefix_too=False)
        return feature_pixels(prediction, plan.hidden, self.backbone.patch_size)

    @torch.no_grad()
    def teach(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch sequence dim"]:
        """The teacher's features of prefix and patches of whole images, standardised."""
        teacher = self.teacher.module
        sequence = teacher.embed(teacher.patch_tokens(images))
        for block in teacher.blocks[: self._teacher_depth]:
            sequence = block(sequence)
        return standardise(sequence)

    def _predict(
        self, batch: Batch, plan: MaskPlan, *, prefix_too: bool
    ) -> Float[Tensor, "batch rounds sequence dim"]:
        encoded = self.backbone.encode_visible(batch.images, plan)
        assert plan.kept_ids is not None  # encode_visible refuses other plans
        kept_ids = plan.kept_ids.flatten(0, 1)
        prediction = self.decoder(encoded, kept_ids, prefix_too=prefix_too)
        return prediction.unflatten(0, plan.hidden.shape[:2])

    def _stage_that_begins(self, progress: Progress) -> int | None:
        """The stage of the next step, if it is its first; stages are those of the schedule."""
        if not progress.step:
            return None
        total = round(progress.step / progress.fraction)
        stage, into = divmod(progress.step + 1, math.ceil(total / self.stages))
        return stage if into == 0 and stage < self.stages else None

    def _draw_student(self) -> None:
        """Initial weights as MAE's: timm's where those are not its own."""
        self.backbone.vit.init_weights()
        self.decoder.apply(_reset)
        for part in (self.backbone, self.decoder):
            part.apply(init_matrix)
            for name, parameter in part.named_parameters():
                if name.endswith("token"):
                    nn.init.normal_(parameter, std=0.02)
        self.backbone.set_sincos_positions()


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.LayerNorm):
        module.reset_parameters()
