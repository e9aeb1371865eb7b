"""MAE's decoder: mask tokens go back between the encoded patches, then a few narrow blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimlab_objectives.backbones.positions import sincos_positions
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError


class MaeDecoder(nn.Module):
    """Predicts `out_dim` numbers for every patch from the encoder's kept tokens.

    He et al., 2022; facebookresearch/mae, models_mae.py. Positions are fixed sine-cosine, zero for
    the prefix. Without `out_dim` it gives its `width` normed channels, for a head of another form.
    Raises ParamsError if `width` does not split into `num_heads`.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int | None,
        *,
        grid: Grid,
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
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = sincos_positions(grid, width, field="decoder_width")
        self.positions: Tensor
        self.register_buffer("positions", positions, persistent=False)
        blocks = [Block(width, num_heads, qkv_bias=True) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Identity() if out_dim is None else nn.Linear(width, out_dim)

    def forward(
        self,
        encoded: Float[Tensor, "batch_rounds sequence in_dim"],
        kept_ids: Int[Tensor, "batch_rounds kept"],
        *,
        prefix_too: bool = False,
    ) -> Float[Tensor, "batch_rounds places out_dim"]:
        """Predictions for all patches, kept ones included, and with `prefix_too` for the prefix in
        front of them; `encoded` is (prefix, kept tokens)."""
        narrow = self.embed(encoded)
        prefix, kept = narrow.tensor_split([self.num_prefix_tokens], dim=1)
        # Writing the kept tokens between mask tokens equals MAE's un-shuffle, and its backward
        # pass reads rows instead of adding into them.
        tokens = self.mask_token.to(kept.dtype).expand(len(kept), len(self.positions), -1)
        image = torch.arange(len(kept), device=kept.device)[:, None]
        tokens = tokens.index_put((image, kept_ids), kept) + self.positions
        decoded = self.norm(self.blocks(torch.cat([prefix, tokens], dim=1)))
        return self.head(decoded if prefix_too else decoded[:, self.num_prefix_tokens :])
