"""What tokens attend to, from a block's own weights."""

from __future__ import annotations

from jaxtyping import Float
from timm.layers.attention import Attention
from torch import Tensor


def attention_to_patches(
    attention: Attention,
    sequence: Float[Tensor, "batch sequence dim"],
    *,
    num_prefix_tokens: int,
    class_token: bool,
) -> Float[Tensor, "batch tokens"]:
    """Softmax attention from the class token to each patch, averaged over heads; from all tokens on
    average where there is no class token. `sequence` is what the module itself is given.

    As in gkakogeorgiou/attmask, attmask.py, and OpenDriveLab/maskalign, models_pretrain.py.
    """
    batch, length, _ = sequence.shape
    qkv = attention.qkv(sequence).view(batch, length, 3, attention.num_heads, -1)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4)
    q, k = attention.q_norm(q) * attention.scale, attention.k_norm(k)
    asking = q[:, :, :1] if class_token else q
    weights = (asking @ k.transpose(-2, -1)).softmax(-1)
    return weights.mean((1, 2))[:, num_prefix_tokens:].float()
