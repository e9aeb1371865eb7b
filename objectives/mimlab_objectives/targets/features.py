"""Features of a frozen teacher, computed or stored, normalised token by token."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.moments import principal_axes
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import Target, TargetKind, targets
from mimlab_objectives.targets.stored import (
    StorableParams,
    StorableTarget,
    StoredParams,
    stored_of,
)
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.weights import TeacherParams
from mimlab_objectives.tokenizers.base import EncodedKind

FeatureNorm = Literal["ln", "std", "l2"]

_EPSILON = 1e-6
_COLOURS = 3
_SPREAD = 2.0
"""Normalised pixels of the ends of a colour's range; standard deviations that it spans."""


class FeatureParams(StorableParams):
    """Which frozen model teaches, and how its features are normalised."""

    stored_kind: ClassVar[EncodedKind] = "features"
    computed_by: ClassVar[tuple[str, ...]] = ("teacher",)

    teacher: TeacherParams | None = TeacherParams(name="vit_small_patch16_224", weights="random")
    """The frozen network; null where a token store has its features."""
    norm: FeatureNorm = "ln"
    """Of each patch: `ln` (mean 0, variance 1: MaskDistill, MaskAlign), `std` (the same with the
    unbiased variance: dBOT), `l2` (length 1: CAE v2)."""

    def reading(self, stored: StoredParams) -> StorableParams:
        """Without a teacher."""
        return super().reading(stored).model_copy(update={"teacher": None})

    def shown_as(self, name: str) -> str:
        """Says whose features are stored."""
        return name if self.stored is None else f"{name}({self.stored.label})"


@targets.register("features", params=FeatureParams, paper="Peng et al., 2022 (arXiv:2210.10615)")
class FeatureTarget(Target, StorableTarget):
    """What a frozen timm model makes of each patch of the whole image, as in MaskDistill.

    The norms are those of OpenDriveLab/maskalign (`ln`), liuxingbin/dbot (`std`) and Atten4Vis/CAE
    (`l2`). Boards show the first three principal components, fitted on a few images, as colours.
    With `stored` the features are read (`data.tokens`), and normalised here all the same.
    Raises ParamsError as FrozenTeacher, and where there is neither teacher nor store.
    """

    kind: ClassVar[TargetKind] = "vectors"

    def __init__(self, params: FeatureParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        self.norm: FeatureNorm = params.norm
        self.teacher = None
        if params.stored is not None:
            self.dim = params.stored.width
        elif params.teacher is not None:
            self.teacher = FrozenTeacher(params.teacher, grid)
            self.dim, self.fit_images = self.teacher.dim, 64
        else:
            raise ParamsError("teacher", "is null: name one, or a store of features: data.tokens")
        self.centre: Tensor
        self.axes: Tensor
        self.register_buffer("centre", torch.zeros(self.dim))
        self.register_buffer("axes", torch.zeros(self.dim, _COLOURS))

    @torch.no_grad()
    def fit(self, images: Float[Tensor, "images 3 height width"]) -> None:
        """Find the principal components that boards show."""
        self._fit_colours(self.compute(images).flatten(0, 1))

    @torch.no_grad()
    def learn_pictures(self, known: Float[Tensor, "rows numbers"]) -> None:
        """The same from features of some patches, as they are stored."""
        self._fit_colours(self._normalised(known))

    def of(self, batch: Batch) -> Float[Tensor, "batch tokens target_dim"]:
        """Those of the store, or computed ones, normalised; float32."""
        if self.teacher is not None:
            return self.compute(batch.images)
        return self._normalised(stored_of(batch))

    def _fit_colours(self, points: Float[Tensor, "rows dim"]) -> None:
        count = min(_COLOURS, self.dim)
        centre, axes, variances = principal_axes(points, count)
        self.centre.copy_(centre)
        self.axes[:, :count] = (axes / variances.clamp(min=_EPSILON).sqrt()).to(self.axes)

    @torch.no_grad()
    def compute(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens target_dim"]:
        """Normalised features of every patch, float32."""
        assert self.teacher is not None  # those of a store come with the batch
        return self._normalised(self.teacher(images))

    def _normalised(self, features: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
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
