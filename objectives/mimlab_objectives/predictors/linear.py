"""One linear layer from every patch token to its target."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import VitBackbone


class LinearHead(nn.Module):
    """A prediction for each patch of an encoded sequence of all patches, in one round.

    The same map as the 1×1 convolution and pixel shuffle of SimMIM and those who follow it.
    """

    def __init__(self, backbone: VitBackbone, out_dim: int) -> None:
        super().__init__()
        self.num_prefix_tokens = backbone.num_prefix_tokens
        self.linear = nn.Linear(backbone.dim, out_dim)

    def forward(
        self, encoded: Float[Tensor, "batch sequence dim"]
    ) -> Float[Tensor, "batch 1 tokens out_dim"]:
        """Predictions of all patches; the prefix has none."""
        return self.linear(encoded[:, self.num_prefix_tokens :])[:, None]
