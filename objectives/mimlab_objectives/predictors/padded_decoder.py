"""MAGE's decoder: what the encoder's class token became stands at every hidden place."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimlab_objectives.registry import ParamsError


class PaddedDecoder(nn.Module):
    """`width` channels for every patch; hidden places begin as the class token's output.

    Li et al., 2023; LTH14/mage, models_mage.py. Positions are learned, N(0, 0.02²). The encoder's
    first prefix token is the class token. Raises ParamsError if `width` does not split into
    `num_heads`.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        num_tokens: int,
        num_prefix_tokens: int,
        width: int,
        depth: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ParamsError(
                "decoder_heads", f"decoder_width {width} is not divisible by {num_heads} heads"
            )
        self.num_prefix_tokens = num_prefix_tokens
        self.embed = nn.Linear(in_dim, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_prefix_tokens + num_tokens, width))
        nn.init.normal_(self.pos_embed, std=0.02)
        blocks = [Block(width, num_heads, qkv_bias=True) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self,
        encoded: Float[Tensor, "batch_rounds sequence in_dim"],
        kept_ids: Int[Tensor, "batch_rounds kept"],
        hidden: Bool[Tensor, "batch_rounds tokens"],
    ) -> Float[Tensor, "batch_rounds tokens width"]:
        """Normed channels of all patches; `encoded` is (prefix, kept tokens). A kept patch that is
        hidden all the same is padded, too."""
        prefix, kept = self.embed(encoded).tensor_split([self.num_prefix_tokens], dim=1)
        padding = prefix[:, :1]
        image = torch.arange(len(kept), device=kept.device)[:, None]
        tokens = padding.expand(-1, hidden.shape[1], -1).index_put((image, kept_ids), kept)
        tokens = torch.where(hidden.unsqueeze(-1), padding, tokens)
        sequence = torch.cat([prefix, tokens], dim=1) + self.pos_embed
        return self.norm(self.blocks(sequence))[:, self.num_prefix_tokens :]
