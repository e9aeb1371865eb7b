"""A frozen model's features of each patch, to be stored; all of them, or what matters of them."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.moments import principal_axes
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.weights import TeacherParams
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder, patch_encoders, square_side
from mimlab_objectives.tokenizers.precision import full_precision

_POINTS_PER_CHANNEL = 64
"""Patches that principal components are found of, for each channel of the teacher."""


class StoredFeatureParams(Params):
    """Whose features are stored, and what of them."""

    teacher: TeacherParams
    """The frozen network, and its layer."""
    dim: int | None = Field(default=None, ge=1)
    """Principal components that are stored in the place of channels; null: all channels."""
    top_k: int | None = Field(default=None, ge=1)
    """Numbers of each patch that are kept, the largest in absolute value; the others are stored as
    zeros. Null: all of them."""


@patch_encoders.register(
    "features", params=StoredFeatureParams, paper="Peng et al., 2022 (arXiv:2210.10615)"
)
class FeatureEncoder(PatchEncoder):
    """A frozen timm model's features of each patch at any layer, as MaskDistill predicts them.

    What it gives is not normalised: features before any last norm, as they are; with `dim`, their
    principal components (x − mean) · axes, of decreasing variance and not whitened; of either, with
    `top_k`, the largest numbers of each patch and zeros. A norm of tokens, which a target applies
    to what is stored, is over those numbers. Raises ParamsError as FrozenTeacher, and for more
    components or more kept numbers than there are.
    """

    kind: ClassVar[EncodedKind] = "features"

    def __init__(self, params: StoredFeatureParams, grid: Grid) -> None:
        super().__init__(params, grid)
        self.teacher = FrozenTeacher(params.teacher, grid)
        self.size = square_side(self.teacher.size)
        channels = self.teacher.dim
        self.width = params.dim or channels
        if self.width > channels:
            raise ParamsError("dim", f"{params.teacher.name} has {channels} channels there")
        if params.top_k is not None and params.top_k >= self.width:
            raise ParamsError("top_k", f"a patch has {self.width} numbers: take fewer, or null")
        self.dim, self.top_k = params.dim, params.top_k
        self.mean: Tensor
        self.axes: Tensor
        if self.dim is not None:
            self.fit_points = _POINTS_PER_CHANNEL * channels
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("axes", torch.zeros(channels, self.width))

    @property
    def label(self) -> str:
        parts = ["features", self.teacher.params.label_with_layer]
        parts += [] if self.dim is None else [f"pca{self.dim}"]
        return "-".join(parts if self.top_k is None else [*parts, f"top{self.top_k}"])

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens feature_dim"]:
        """Features of every patch, float32; images of another size than its own are resized."""
        values = self.teacher(images)
        if self.dim is not None:
            with full_precision(values.device):
                values = (values - self.mean) @ self.axes
        if self.top_k is None:
            return values
        largest = values.abs().topk(self.top_k, dim=-1).indices
        return torch.zeros_like(values).scatter(-1, largest, values.gather(-1, largest))

    @torch.no_grad()
    def points(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens point_dim"]:
        """All channels of every patch."""
        return self.teacher(images)

    @torch.no_grad()
    def fit(self, points: Float[Tensor, "points point_dim"], seed: int) -> None:  # noqa: ARG002
        """Find the principal components of all points, exactly: the seed changes nothing.

        Raises ParamsError if there are not more points than components.
        """
        if len(points) <= self.width:
            raise ParamsError(
                "dim",
                f"{self.width} components need more patches, and there are only {len(points)}; "
                "lower dim or take more images",
            )
        mean, axes, _ = principal_axes(points, self.width, device=self.axes.device)
        self.mean.copy_(mean)
        self.axes.copy_(axes)

    def all_weights(self) -> dict[str, Tensor]:
        """The teacher's, too."""
        return {**self.state_dict(), **self.teacher.weights()}
