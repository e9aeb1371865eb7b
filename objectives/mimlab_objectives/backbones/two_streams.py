"""Two streams through a vision transformer, for predictions along an order of the patches.

The content stream carries what patches hold, the query stream what is predicted of them; both run
through the same blocks, and queries read the content without being read. `rows` lie in this order:
mask tokens, prefix and context, targets in their order (these are the `keys`), then queries.

In that layout every row sees one run of consecutive keys, so that one static mask serves all images
and heads: mask tokens and context see each other, which needs no mask at all, and the rest is a
band of constant width, cut here into a few windows of which each row sees nearly all.
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

WINDOW = 49
"""Targets that share one call of attention: fewer waste less, more keep the calls large."""


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
    windows = _windows(rows, sequence.device)
    *before, last = blocks
    for block in before:
        sequence = _run(cast("Block", block), sequence, rows, windows, from_row=0)
    return _run(cast("Block", last), sequence, rows, windows, from_row=rows.keys)


@dataclass(frozen=True)
class _Window:
    """Some targets and their queries, and the run of keys that any of them sees."""

    size: int
    keys: slice
    visible: Bool[Tensor, "streams size keys"] | None
    """Of targets, then queries; None where all of them is seen."""


def _windows(rows: Rows, device: torch.device) -> list[_Window]:
    if not rows.ordered:
        return [_Window(rows.queries, slice(0, rows.open), None)]
    mask = visible(rows, device)[rows.open :].unflatten(0, (2, rows.targets))
    windows = []
    for start in range(0, rows.targets, WINDOW):
        stop = min(start + WINDOW, rows.targets)
        keys = slice(start if rows.masks else 0, rows.open + stop)
        windows.append(_Window(stop - start, keys, mask[:, start:stop, keys]))
    return windows


def _run(
    block: Block,
    sequence: Float[Tensor, "batch_rounds rows dim"],
    rows: Rows,
    windows: list[_Window],
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
    mixed = _attend(q, attention.k_norm(k), v, rows, windows)
    new = sequence[:, from_row:]
    new = new + block.drop_path1(block.ls1(attention.proj(mixed.transpose(1, 2).flatten(2))))
    return new + block.drop_path2(block.ls2(block.mlp(block.norm2(new))))


def _attend(
    q: Float[Tensor, "batch_rounds heads new_rows head"],
    k: Float[Tensor, "batch_rounds heads keys head"],
    v: Float[Tensor, "batch_rounds heads keys head"],
    rows: Rows,
    windows: list[_Window],
) -> Float[Tensor, "batch_rounds heads new_rows head"]:
    attend = functional.scaled_dot_product_attention
    num_open = rows.open if q.shape[2] > rows.queries else 0
    own, others = q.split([num_open, q.shape[2] - num_open], dim=2)
    streams = others.unflatten(2, (-1, rows.queries))  # targets and queries, or queries
    pieces = []
    for part, window in zip(streams.split([w.size for w in windows], dim=3), windows, strict=True):
        mask = window.visible
        mask = None if mask is None else mask[-part.shape[2] :].flatten(0, 1)
        keys = window.keys
        mixed = attend(part.flatten(2, 3), k[:, :, keys], v[:, :, keys], attn_mask=mask)
        pieces.append(mixed.unflatten(2, (-1, window.size)))
    mixed = torch.cat(pieces, dim=3).flatten(2, 3)
    if not num_open:
        return mixed
    return torch.cat([attend(own, k[:, :, :num_open], v[:, :, :num_open]), mixed], dim=2)
