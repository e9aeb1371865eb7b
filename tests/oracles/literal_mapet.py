"""MaPeT's two streams as they are published: per-sample masks in raster order, attention written
out. The weights are those of the objective; nothing is shared with the layout of the product."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.objectives.mapet import Permuted

HIDDEN = -1e30


def literal_masks(
    order: Int[Tensor, "batch targets"], tokens: int, *, mask_keys: bool
) -> tuple[Bool[Tensor, "batch content keys"], Bool[Tensor, "batch targets keys"]]:
    """(content, query) masks. Keys: class token, patches, then mask tokens of the targets, both in
    raster order; rows of the content are the keys, rows of the query the targets in raster order.
    """
    images, targets = order.shape
    rank = torch.full((images, tokens + 1), -1).to(order.device)
    places = torch.arange(targets, device=order.device).expand(images, -1)
    rank = rank.scatter(1, order + 1, places)  # −1 for the class token and the context
    raster = order.sort(dim=1).values
    own = rank.gather(1, raster + 1)  # of the targets in raster order
    content = torch.cat([rank, torch.full_like(own, -1)], dim=1) if mask_keys else rank
    return _allowed(content, rank, own, mask_keys), _allowed(own - 1, rank, own, mask_keys)


def _allowed(seen: Tensor, rank: Tensor, own: Tensor, mask_keys: bool) -> Tensor:
    """A row whose last seen target has rank `seen` (−1: none) sees mask tokens of the others."""
    past = rank[:, None] <= seen[:, :, None]
    if not mask_keys:
        return past
    return torch.cat([past, own[:, None] > seen[:, :, None]], dim=2)


def additive(mask: Bool[Tensor, "batch rows keys"]) -> Float[Tensor, "batch 1 rows keys"]:
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, HIDDEN)[:, None]


def literal_predictions(
    objective: Permuted,
    images: Float[Tensor, "batch 3 height width"],
    order: Int[Tensor, "batch targets"],
    masks: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "batch targets target_dim"]:
    """Predictions of the targets in raster order. `masks`: additive, made beforehand."""
    backbone = objective.backbone
    vit = backbone.vit
    assert vit.pos_embed is not None and vit.cls_token is not None
    if masks is None:
        pair = literal_masks(order, vit.pos_embed.shape[1] - 1, mask_keys=objective.mask_keys)
        masks = additive(pair[0]), additive(pair[1])
    cls = vit.cls_token.expand(len(images), -1, -1)
    content = torch.cat([cls, vit.patch_embed(images)], dim=1) + vit.pos_embed
    raster = order.sort(dim=1).values
    query = objective.mask_token + vit.pos_embed[0][raster + 1]
    if objective.mask_keys:
        content = torch.cat([content, query], dim=1)
    for block in vit.blocks:
        content, query = _block(cast("Block", block), content, query, masks)
    return objective.head(vit.norm(query))


def _block(
    block: Block, content: Tensor, query: Tensor, masks: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    attention = cast("Attention", block.attn)
    own, other = block.norm1(content), block.norm1(query)
    q, k, v = _heads(attention, own)
    g = _queries(attention, other)
    content = content + block.ls1(attention.proj(_mix(attention, q, k, v, masks[0])))
    query = query + block.ls1(attention.proj(_mix(attention, g, k, v, masks[1])))
    content = content + block.ls2(block.mlp(block.norm2(content)))
    return content, query + block.ls2(block.mlp(block.norm2(query)))


def _heads(attention: Attention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    qkv = attention.qkv(tokens).unflatten(2, (3, attention.num_heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def _queries(attention: Attention, tokens: Tensor) -> Tensor:
    """Without keys and values, which the query stream never provides."""
    qkv, dim = attention.qkv, attention.attn_dim
    q = functional.linear(tokens, qkv.weight[:dim], qkv.bias[:dim])
    return q.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _mix(attention: Attention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    weights = (q @ k.transpose(-2, -1) * attention.scale + mask).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)
