"""A timm vision transformer that stays as it is and tells what it sees."""

from __future__ import annotations

from typing import Literal, cast

import timm
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.initial import start_from
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone, patch_size_of
from mimlab_objectives.images import MEAN, STD
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError


class TeacherParams(Params):
    """Which network teaches."""

    name: str = "vit_base_patch16_clip_224"
    """A timm vision transformer. It reads images at the size that gives it the student's grid."""
    weights: Literal["timm", "random"] = "timm"
    """That model's own pretrained weights, or random ones (a control: say so where it counts)."""
    patch_size: int | None = Field(default=None, ge=1)
    """Side of a patch in pixels; null: the model's own. This and the next three are for random
    weights."""
    embed_dim: int | None = Field(default=None, ge=1)
    """Channels of a token; null: the model's own."""
    depth: int | None = Field(default=None, ge=1)
    """Number of blocks; null: the model's own."""
    num_heads: int | None = Field(default=None, ge=1)
    """Attention heads; null: the model's own."""


class FrozenVit(nn.Module):
    """A teacher in evaluation mode and without gradient, on the student's grid of patches.

    Construct it where the student is constructed and call `load` in the objective's `after_init`.
    Raises ParamsError, on the field `teacher`, for a model that is no plain vision transformer and
    for sizes that do not fit.
    """

    def __init__(self, params: TeacherParams, grid: Grid) -> None:
        super().__init__()
        sizes = params.model_dump(exclude={"weights"})
        self._pretrained = params.weights == "timm"
        self._name = params.name
        own = BackboneParams.model_validate(sizes)
        try:
            backbone = VitBackbone(own, grid[0] * patch_size_of(own))
        except ParamsError as error:
            raise ParamsError("teacher", f"{error.field}: {error}") from error
        self.module = backbone.eval().requires_grad_(False)
        colours = cast("dict[str, tuple[float, ...]]", backbone.vit.pretrained_cfg)
        mean, std = torch.tensor(colours["mean"]), torch.tensor(colours["std"])
        theirs, spread = torch.tensor(MEAN), torch.tensor(STD)
        self._scale: Tensor
        self._shift: Tensor
        self.register_buffer("_scale", (spread / std).view(3, 1, 1), persistent=False)
        self.register_buffer("_shift", ((theirs - mean) / std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FrozenVit:  # noqa: ARG002
        """A teacher stays in evaluation mode."""
        return super().train(False)

    def load(self) -> None:
        """Take timm's weights if it was told to; they are downloaded where they are missing."""
        if self._pretrained:
            vit = timm.create_model(self._name, pretrained=True, num_classes=0)
            start_from(self.module, vit.state_dict())

    @torch.no_grad()
    def see(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 teacher_height teacher_width"]:
        """Normalised images as the teacher takes them: its size, its mean and deviation."""
        size = self.module.image_size
        if images.shape[-1] != size:
            images = functional.interpolate(
                images, size=size, mode="bicubic", antialias=True, align_corners=False
            )
        return images * self._scale + self._shift
