"""Features of a frozen teacher, normalised token by token."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.moments import principal_axes
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind, targets
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.weights import TeacherParams

FeatureNorm = Literal["ln", "std", "l2"]

_EPSILON = 1e-6
_COLOURS = 3
_SPREAD = 2.0
"""Normalised pixels of the ends of a colour's range; standard deviations that it spans."""


class FeatureParams(Params):
    """Which frozen model teaches, and how its features are normalised."""

    teacher: TeacherParams = TeacherParams(name="vit_small_patch16_224", weights="random")
    """The frozen network."""
    norm: FeatureNorm = "ln"
    """Of each patch: `ln` (mean 0, variance 1: MaskDistill, MaskAlign), `std` (the same with the
    unbiased variance: dBOT), `l2` (length 1: CAE v2)."""


@targets.register("features", params=FeatureParams, paper="Peng et al., 2022 (arXiv:2210.10615)")
class FeatureTarget(Target):
    """What a frozen timm model makes of each patch of the whole image, as in MaskDistill.

    The norms are those of OpenDriveLab/maskalign (`ln`), liuxingbin/dbot (`std`) and Atten4Vis/CAE
    (`l2`). Boards show the first three principal components, fitted on a few images, as colours.
    Raises ParamsError as FrozenTeacher.
    """

    kind: ClassVar[TargetKind] = "vectors"

    def __init__(self, params: FeatureParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        self.norm: FeatureNorm = params.norm
        self.teacher = FrozenTeacher(params.teacher, grid)
        self.dim, self.fit_images = self.teacher.dim, 64
        self.centre: Tensor
        self.axes: Tensor
        self.register_buffer("centre", torch.zeros(self.dim))
        self.register_buffer("axes", torch.zeros(self.dim, _COLOURS))

    @torch.no_grad()
    def fit(self, images: Float[Tensor, "images 3 height width"]) -> None:
        """Find the principal components that boards show."""
        count = min(_COLOURS, self.dim)
        points = self.compute(images).flatten(0, 1)
        centre, axes, variances = principal_axes(points, count)
        self.centre.copy_(centre)
        self.axes[:, :count] = (axes / variances.clamp(min=_EPSILON).sqrt()).to(self.axes)

    @torch.no_grad()
    def compute(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens target_dim"]:
        """Normalised features of every patch, float32."""
        features = self.teacher(images)
        if self.norm == "l2":
            return functional.normalize(features, dim=-1)
        unbiased = int(self.norm == "std")
        var, mean = torch.var_mean(features, dim=-1, correction=unbiased, keepdim=True)
        return (features - mean) / (var + _EPSILON).sqrt()

    @torch.no_grad()
    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],  # noqa: ARG002
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Each patch in one colour: its three principal components, in deviations."""
        colours = (prediction.float() - self.centre) @ self.axes
        return colours.clamp(-_SPREAD, _SPREAD).repeat(1, 1, 1, self.patch_size**2)
