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
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

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
    mask = visible(rows, sequence.device)[rows.open :]
    *before, last = blocks
    for block in before:
        sequence = _run(cast("Block", block), sequence, rows, mask, from_row=0)
    return _run(cast("Block", last), sequence, rows, mask[-rows.queries :], from_row=rows.keys)


def _run(
    block: Block,
    sequence: Float[Tensor, "batch_rounds rows dim"],
    rows: Rows,
    mask: Bool[Tensor, "masked_rows keys"],
    *,
    from_row: int,
) -> Float[Tensor, "batch_rounds new_rows dim"]:
    """One block for the rows from `from_row`: 0, or where the queries begin."""
    attention = cast("Attention", block.attn)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    dim = attention.attn_dim
    normed = block.norm1(sequence)
    q = functional.linear(normed[:, from_row:], weight[:dim], None if bias is None else bias[:dim])
    kv = functional.linear(
        normed[:, : rows.keys], weight[dim:], None if bias is None else bias[dim:]
    )
    q = attention.q_norm(q.unflatten(2, (attention.num_heads, -1)).transpose(1, 2))
    k, v = kv.unflatten(2, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = _attend(q, attention.k_norm(k), v, mask)
    new = sequence[:, from_row:]
    new = new + block.drop_path1(block.ls1(attention.proj(mixed.transpose(1, 2).flatten(2))))
    return new + block.drop_path2(block.ls2(block.mlp(block.norm2(new))))


def _attend(
    q: Float[Tensor, "batch_rounds heads new_rows head"],
    k: Float[Tensor, "batch_rounds heads keys head"],
    v: Float[Tensor, "batch_rounds heads keys head"],
    mask: Bool[Tensor, "masked_rows keys"],
) -> Float[Tensor, "batch_rounds heads new_rows head"]:
    """The last rows under the mask; those before it, if any, see as many keys as they are.

    One call for all masked rows: windows that leave out keys that none of them sees were no faster
    in float32 and slower in bfloat16 on a CPU.
    """
    attend = functional.scaled_dot_product_attention
    num_open = q.shape[2] - len(mask)
    own, others = q.split([num_open, len(mask)], dim=2)
    mixed = attend(others, k, v, attn_mask=mask)
    if not num_open:
        return mixed
    return torch.cat([attend(own, k[:, :, :num_open], v[:, :, :num_open]), mixed], dim=2)
