"""What objectives that learn from labels share."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.registry import Params


class LabelParams(Params):
    """Parameters of an objective that predicts the label of an image."""

    num_classes: int = Field(default=1000, ge=2)
    """Classes of the data set; a study of a data set with another number is refused."""


def image_features(
    backbone: VitBackbone, encoded: Float[Tensor, "batch sequence dim"]
) -> Float[Tensor, "batch dim"]:
    """The class token's output; the mean of the patches where there is no class token."""
    if backbone.vit.cls_token is not None:
        return encoded[:, 0]
    return encoded[:, backbone.num_prefix_tokens :].mean(1)
