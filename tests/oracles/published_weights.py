"""Small weights under the official names of published tokenizers, spelled out one by one."""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]

DALLE = {"hidden": 8, "blocks_per_group": 1, "vocabulary": 32}
VQKD = {
    "vocabulary": 20,
    "code_dim": 6,
    "image_size": 64,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
}
VQGAN = {
    "vocabulary": 20,
    "code_dim": 6,
    "channels": 32,
    "multipliers": [1, 2, 2],
    "blocks_per_level": 1,
}


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    """Normal numbers, scaled so that layers neither fade nor explode."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        fan_in = max(1, torch.Size(shape[1:]).numel())
        found[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return found


def dalle_weights(seed: int = 0) -> Weights:
    """Of `DALLE`: one block in each group."""
    shapes: dict[str, tuple[int, ...]] = {"blocks.input.w": (8, 3, 7, 7), "blocks.input.b": (8,)}
    for group, inputs, outputs in ((1, 8, 8), (2, 8, 16), (3, 16, 32), (4, 32, 64)):
        block, inner = f"blocks.group_{group}.block_1", outputs // 4
        kernels = {
            "res_path.conv_1": (inner, inputs, 3, 3),
            "res_path.conv_2": (inner, inner, 3, 3),
            "res_path.conv_3": (inner, inner, 3, 3),
            "res_path.conv_4": (outputs, inner, 1, 1),
        }
        if inputs != outputs:
            kernels["id_path"] = (outputs, inputs, 1, 1)
        for name, kernel in kernels.items():
            shapes |= {f"{block}.{name}.w": kernel, f"{block}.{name}.b": kernel[:1]}
    shapes |= {"blocks.output.conv.w": (32, 64, 1, 1), "blocks.output.conv.b": (32,)}
    return drawn(shapes, seed)


def vqkd_weights(seed: int = 0) -> Weights:
    """Of `VQKD`, with what its training leaves in the file."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.cls_token": (1, 1, 24),
        "encoder.pos_embed": (1, 17, 24),
        "encoder.patch_embed.proj.weight": (24, 3, 16, 16),
        "encoder.patch_embed.proj.bias": (24,),
    }
    for number in range(2):
        block = f"encoder.blocks.{number}"
        for name in ("norm1", "norm2"):
            shapes |= {f"{block}.{name}.weight": (24,), f"{block}.{name}.bias": (24,)}
        shapes |= {
            f"{block}.attn.q_bias": (24,),
            f"{block}.attn.v_bias": (24,),
            f"{block}.attn.qkv.weight": (72, 24),
        }
        for name, outputs, inputs in (
            ("attn.proj", 24, 24),
            ("mlp.fc1", 96, 24),
            ("mlp.fc2", 24, 96),
        ):
            shapes |= {
                f"{block}.{name}.weight": (outputs, inputs),
                f"{block}.{name}.bias": (outputs,),
            }
    shapes |= {
        "encoder.fc_norm.weight": (24,),
        "encoder.fc_norm.bias": (24,),
        "encode_task_layer.0.weight": (24, 24),
        "encode_task_layer.0.bias": (24,),
        "encode_task_layer.2.weight": (6, 24),
        "encode_task_layer.2.bias": (6,),
        "quantize.embedding.weight": (20, 6),
        "quantize.cluster_size": (20,),
        "quantize.embedding.cluster_size": (20,),
        "quantize.embedding.embed_avg": (20, 6),
        "quantize.embedding.initted": (1,),
        "decoder.cls_token": (1, 1, 24),
        "decode_task_layer.0.weight": (24, 24),
    }
    found = drawn(shapes, seed)
    codes = found["quantize.embedding.weight"]
    found["quantize.embedding.weight"] = codes / codes.norm(dim=1, keepdim=True)
    return found


def vqgan_weights(seed: int = 0) -> Weights:
    """Of `VQGAN`: one block in each of three levels."""
    shapes: dict[str, tuple[int, ...]] = {"encoder.conv_in.weight": (32, 3, 3, 3)}
    blocks = {
        "down.0.block.0": (32, 32),
        "down.1.block.0": (32, 64),
        "down.2.block.0": (64, 64),
        "mid.block_1": (64, 64),
        "mid.block_2": (64, 64),
    }
    for name, (inputs, outputs) in blocks.items():
        block = f"encoder.{name}"
        shapes |= {
            f"{block}.norm1.weight": (inputs,),
            f"{block}.norm1.bias": (inputs,),
            f"{block}.conv1.weight": (outputs, inputs, 3, 3),
            f"{block}.norm2.weight": (outputs,),
            f"{block}.norm2.bias": (outputs,),
            f"{block}.conv2.weight": (outputs, outputs, 3, 3),
        }
        if inputs != outputs:
            shapes[f"{block}.nin_shortcut.weight"] = (outputs, outputs, 1, 1)
    shapes |= {
        "encoder.norm_out.weight": (64,),
        "encoder.norm_out.bias": (64,),
        "encoder.conv_out.weight": (6, 64, 1, 1),
        "encoder.conv_out.bias": (6,),
        "quantize.embedding.weight": (20, 6),
        "decoder.conv_in.weight": (64, 6, 3, 3),
        "loss.discriminator.main.0.weight": (4, 3, 4, 4),
    }
    return drawn(shapes, seed)
