"""Two streams through a vision transformer, for predictions along an order of the patches.

The content stream carries what patches hold, the query stream what is predicted of them; both run
through the same blocks, and queries read the content without being read. `rows` lie in this order:
mask tokens, prefix and context, targets in their order (these are the `keys`), then queries.

In that layout every row sees one run of consecutive keys, so that one static mask serves all images
and heads; mask tokens and context, over a third of the rows, see just each other and need none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from timm.layers.attention import Attention
from timm.layers.layer_scale import LayerScale
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.backbones.masked_attention import attend, laid_out
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.registry import ParamsError


@dataclass(frozen=True)
class Rows:
    """How many rows there are of each kind."""

    masks: int
    """Mask tokens as keys: one for each target, or none."""
    context: int
    """Prefix and context patches."""
    queries: int
    ordered: bool = True
    """Whether each query is that of a target and also sees the targets before it. Otherwise there
    are no targets, and a query sees mask tokens and context alone."""

    @property
    def targets(self) -> int:
        return self.queries if self.ordered else 0

    @property
    def open(self) -> int:
        """Rows that see each other and nothing else."""
        return self.masks + self.context

    @property
    def keys(self) -> int:
        return self.open + self.targets


def visible(rows: Rows, device: torch.device) -> Bool[Tensor, "rows keys"]:
    """True where a row may see a key.

    A target sees itself and those before it, and the mask tokens of those after it; its query sees
    those before it, and the mask tokens of itself and of those after it.
    """
    open_rows = torch.zeros(rows.open, dtype=torch.int64, device=device)
    place = torch.arange(rows.queries, device=device)
    queries = place if rows.ordered else torch.zeros_like(place)
    seen = torch.cat([open_rows, place[: rows.targets] + 1, queries])[:, None]
    key = torch.arange(rows.keys, device=device)
    past = key < rows.open + seen
    return past & (key >= seen) if rows.masks else past


def check_blocks(backbone: VitBackbone) -> None:
    """Raises ParamsError, on `name`, unless all blocks are timm's plain pre-norm ones."""
    for block in backbone.blocks:
        attention = block.attn if type(block) is Block else None
        if not isinstance(attention, Attention) or not _plain(attention):
            message = (
                "two streams run through timm's plain pre-norm blocks only, as those of "
                "vit_small_patch16_224; this model has others"
            )
            raise ParamsError("name", message)


def _plain(attention: Attention) -> bool:
    return attention.gate is None and isinstance(attention.norm, nn.Identity)


def two_streams(
    blocks: nn.Sequential, sequence: Float[Tensor, "batch_rounds rows dim"], rows: Rows
) -> Float[Tensor, "batch_rounds queries dim"]:
    """The queries after the last block, which computes nothing else.

    Both streams are rows of one tensor: weights are shared, and stochastic depth, which draws for
    each image, drops a branch in both or in neither.
    """
    if not rows.queries:
        return sequence[:, :0]
    targets, queries = visible(rows, sequence.device)[rows.open :].split(
        [rows.targets, rows.queries]
    )
    *before, last = blocks
    for block in before:
        sequence = _run(cast("Block", block), sequence, rows, queries, targets)
    return _run(cast("Block", last), sequence, rows, queries, None)


def _run(
    block: Block,
    sequence: Float[Tensor, "batch_rounds rows dim"],
    rows: Rows,
    queries: Bool[Tensor, "queries keys"],
    targets: Bool[Tensor, "targets keys"] | None,
) -> Float[Tensor, "batch_rounds new_rows dim"]:
    """One block under the masks of the two kinds of rows that have one; without that of the
    targets, for the queries only.

    No tensor that is kept for the backward pass is a copy of another: rows are joined after the
    projection, not before it.
    """
    attention = cast("Attention", block.attn)
    content, query = (
        block.norm1(part) for part in sequence.split([rows.keys, rows.queries], dim=1)
    )
    qkv = attention.qkv(content).unflatten(2, (3, attention.num_heads, -1))
    q, k, v = laid_out(qkv.permute(2, 0, 3, 1, 4))
    q, k = attention.q_norm(q), attention.k_norm(k)
    mixed = [attend(_queries(attention, query), k, v, queries)]
    if targets is not None:
        own, others = q.split([rows.open, rows.targets], dim=2)
        seen = [part[:, :, : rows.open] for part in (k, v)]
        mixed = [attend(own, *seen), attend(others, k, v, targets), *mixed]
    weight, bias = _scaled_projection(block)
    update = torch.cat(
        [functional.linear(part.transpose(1, 2).flatten(2), weight, bias) for part in mixed], dim=1
    )
    new = sequence[:, -update.shape[1] :] + block.drop_path1(update)
    return new + block.drop_path2(block.ls2(block.mlp(block.norm2(new))))


def _queries(
    attention: Attention, query: Float[Tensor, "batch_rounds queries dim"]
) -> Float[Tensor, "batch_rounds heads queries head"]:
    """The query stream gives neither keys nor values."""
    weight, bias, dim = attention.qkv.weight, attention.qkv.bias, attention.attn_dim
    q = functional.linear(query, weight[:dim], None if bias is None else bias[:dim])
    return attention.q_norm(q.unflatten(2, (attention.num_heads, -1)).transpose(1, 2))


def _scaled_projection(block: Block) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of attention's projection times LayerScale, which alone would keep the
    unscaled rows for the backward pass."""
    projection = cast("Attention", block.attn).proj
    if not isinstance(block.ls1, LayerScale):
        return projection.weight, projection.bias
    gamma = block.ls1.gamma
    bias = None if projection.bias is None else projection.bias * gamma
    return projection.weight * gamma[:, None], bias
