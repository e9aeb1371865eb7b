"""Prediction by queries: tokens that ask, for given places, what the encoder's tokens tell of them.

`queries` patches that are asked for; `context` is the encoder's (prefix, kept tokens).
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.positions import sincos_positions
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError

Attend = Literal["joint", "cross", "cross_and_queries", "self_cross"]
"""What a query sees: the context and all queries, each token updated (`joint`, I-JEPA); the context
alone (`cross`, CAPI); the context and the queries as they are, only queries updated
(`cross_and_queries`, CAE); first the queries, then the context (`self_cross`, Latent MIM)."""


def heads_of(backbone: VitBackbone) -> int:
    """Attention heads of an encoder, which predictors share unless told otherwise."""
    block = cast("Block", backbone.blocks[0])
    return cast("Attention", block.attn).num_heads


class QueryPredictor(nn.Module):
    """Predicts `out_dim` numbers for each patch that is asked for.

    A query is one shared token plus its fixed sine-cosine position. The context has its positions
    too (zero for the prefix): added once, or, with `cross` and `cross_and_queries`, seen by the
    attention of every block. With `from_kept`, a query starts as an average of the kept tokens too,
    weighted by the softmax of how similar their positions are. Raises ParamsError on
    `<field>_heads` or `<field>_width` if `width` does not split.
    """

    def __init__(  # noqa: PLR0913  (all but two by name)
        self,
        in_dim: int,
        out_dim: int,
        *,
        grid: Grid,
        num_prefix_tokens: int,
        width: int,
        depth: int,
        num_heads: int,
        attend: Attend,
        from_kept: bool = False,
        field: str = "predictor",
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ParamsError(
                f"{field}_heads", f"{field}_width {width} is not divisible by {num_heads} heads"
            )
        self.num_prefix_tokens = num_prefix_tokens
        self.embed = nn.Identity() if in_dim == width else nn.Linear(in_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = sincos_positions(grid, width, field=f"{field}_width")
        self.positions: Tensor
        self.register_buffer("positions", positions, persistent=False)
        self._attend: Attend = attend
        self._from_kept = from_kept
        if attend == "joint":
            blocks: list[nn.Module] = [Block(width, num_heads, qkv_bias=True) for _ in range(depth)]
        else:
            blocks = [QueryBlock(width, num_heads, attend=attend) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Identity() if out_dim == width else nn.Linear(width, out_dim)
        self.apply(_init_matrix)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self,
        encoded: Float[Tensor, "rows context in_dim"],
        kept_ids: Int[Tensor, "rows kept"],
        query_ids: Int[Tensor, "rows queries"],
    ) -> Float[Tensor, "rows queries out_dim"]:
        """Predictions for the patches `query_ids`; `encoded` is (prefix, kept tokens)."""
        context = self.embed(encoded)
        at_kept = functional.pad(
            functional.embedding(kept_ids, self.positions), (0, 0, self.num_prefix_tokens, 0)
        ).to(context.dtype)
        at_query = functional.embedding(query_ids, self.positions).to(context.dtype)
        queries = self.mask_token.to(context.dtype) + at_query
        if self._from_kept:
            near = (at_query @ at_kept[:, self.num_prefix_tokens :].mT) * at_kept.shape[-1] ** -0.5
            queries = queries + near.softmax(-1) @ context[:, self.num_prefix_tokens :]
        if self._attend == "joint":
            return self._together(context + at_kept, queries)
        if self._attend == "self_cross":
            context = context + at_kept
            at_query, at_kept = torch.zeros_like(at_query), torch.zeros_like(at_kept)
        for block in self.blocks:
            queries = block(queries, context, at_query, at_kept)
        return self.head(self.norm(queries))

    def _together(
        self,
        context: Float[Tensor, "rows context width"],
        queries: Float[Tensor, "rows queries width"],
    ) -> Float[Tensor, "rows queries out_dim"]:
        sequence = torch.cat([context, queries], dim=1)
        for block in self.blocks:
            sequence = block(sequence)
        return self.head(self.norm(sequence[:, context.shape[1] :]))


class QueryBlock(nn.Module):
    """Attention among queries where asked, attention from queries to the context, an MLP."""

    def __init__(self, width: int, num_heads: int, *, attend: Attend) -> None:
        super().__init__()
        self._with_queries = attend == "cross_and_queries"
        self.among: CrossAttention | None = None
        if attend == "self_cross":
            self.norm_among = nn.LayerNorm(width, eps=1e-6)
            self.among = CrossAttention(width, num_heads)
        self.norm_query = nn.LayerNorm(width, eps=1e-6)
        self.norm_context = nn.LayerNorm(width, eps=1e-6)
        self.cross = CrossAttention(width, num_heads)
        self.norm_mlp = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width)

    def forward(
        self,
        queries: Float[Tensor, "rows queries width"],
        context: Float[Tensor, "rows context width"],
        at_query: Float[Tensor, "rows queries width"],
        at_context: Float[Tensor, "rows context width"],
    ) -> Float[Tensor, "rows queries width"]:
        """New queries; positions take part in who attends to whom, not in what is read there."""
        if self.among is not None:
            own = self.norm_among(queries)
            queries = queries + self.among(own, own, own)
        if self._with_queries:
            context = torch.cat([context, queries], dim=1)
            at_context = torch.cat([at_context, at_query], dim=1)
        query = self.norm_query(queries + at_query)
        key, value = self.norm_context(context + at_context), self.norm_context(context)
        queries = queries + self.cross(query, key, value)
        return queries + self.mlp(self.norm_mlp(queries))


class CrossAttention(nn.Module):
    """Multi-head attention with queries, keys and values of their own."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width, bias=False)  # softmax does not see a bias of the keys
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "rows queries width"],
        key: Float[Tensor, "rows keys width"],
        value: Float[Tensor, "rows keys width"],
    ) -> Float[Tensor, "rows queries width"]:
        """What each query reads from the values, by its similarity to the keys."""
        heads = (self._num_heads, -1)
        q, k, v = (
            projected.unflatten(-1, heads).transpose(1, 2)
            for projected in (self.q(query), self.k(key), self.v(value))
        )
        read = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(read.transpose(1, 2).flatten(2))


def _init_matrix(module: nn.Module) -> None:
    """timm's: normal with 0.02, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
