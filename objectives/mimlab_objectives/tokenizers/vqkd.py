"""The tokenizer of BEiT v2: vector-quantized knowledge distillation."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.tokenizers.base import patch_encoders
from mimlab_objectives.tokenizers.nearest import nearest
from mimlab_objectives.tokenizers.published import PublishedParams, PublishedTokenizer

PATCH_SIZE = 16
_MLP_RATIO = 4
_NORM_EPSILON = 1e-6


class VqkdParams(PublishedParams):
    """The weights of encoder and codebook, and their sizes."""

    vocabulary: int = Field(default=8192, ge=2)
    """Number of codes."""
    code_dim: int = Field(default=32, ge=1)
    """Length of a code's vector."""
    image_size: int = Field(default=224, ge=PATCH_SIZE, multiple_of=PATCH_SIZE)
    """Side in pixels of the images that it was trained on; its positions are for no other."""
    embed_dim: int = Field(default=768, ge=1)
    """Channels of a token of its encoder."""
    depth: int = Field(default=12, ge=1, le=256)
    """Blocks of its encoder."""
    num_heads: int = Field(default=12, ge=1)
    """Attention heads; they divide `embed_dim`."""

    @model_validator(mode="after")
    def _heads_divide(self) -> VqkdParams:
        if self.embed_dim % self.num_heads:
            raise ParamsError("num_heads", f"{self.num_heads} does not divide {self.embed_dim}")
        return self


@patch_encoders.register("vqkd", params=VqkdParams, paper="Peng et al., 2022 (arXiv:2208.06366)")
class VqkdTokenizer(PublishedTokenizer):
    """BEiT v2's tokenizer: the nearest in angle of 8192 codes to what a ViT makes of each patch.

    Architecture and names of weights are those of microsoft/unilm, beit2/modeling_vqkd.py,
    modeling_finetune.py and norm_ema_quantizer.py: a ViT with a class token, learned positions and
    no bias of the keys reads images in [−1, 1]; its patch tokens, normalised, go through
    Linear–Tanh–Linear to 32 numbers, are scaled to length 1 and compared with the codes. All
    published VQ-KDs share that: `vqkd_encoder_base_decoder_3x768x12_clip`, `…_1x768x12_clip`,
    `…_1x768x12_dino`.

    Not verified, since the weights were not at hand: codes of a real image. With them, the
    comment at the end of beit2/test_get_code.py has those of its picture by `…_1x768x12_clip`.
    """

    source: ClassVar[str] = (
        "BEiT v2's VQ-KD, such as vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth: see "
        "beit2/TOKENIZER.md of microsoft/unilm"
    )
    ignored: ClassVar[tuple[str, ...]] = (
        "decoder.",
        "decode_task_layer.",
        "teacher_model.",
        "scaling_layer.",
        "loss",
        # What the codebook's training keeps beside it.
        "quantize.cluster_size",
        "quantize.embedding.cluster_size",
        "quantize.embedding.embed_avg",
        "quantize.embedding.initted",
    )

    def __init__(self, params: VqkdParams, grid: Grid) -> None:
        own = params.image_size // PATCH_SIZE
        if grid != (own, own):
            raise ParamsError(
                "image_size",
                f"at {params.image_size} px it has a grid of {own}×{own}, not "
                f"{grid[0]}×{grid[1]}; take that grid, or another tokenizer",
            )
        super().__init__(params, grid, stride=PATCH_SIZE, vocabulary=params.vocabulary)
        width = params.embed_dim
        with shapes_only():
            self.encoder = _Encoder(params)
            self.encode_task_layer = nn.Sequential(
                nn.Linear(width, width), nn.Tanh(), nn.Linear(width, params.code_dim)
            )
            codebook = nn.Embedding(params.vocabulary, params.code_dim)
        self.quantize = nn.ModuleDict({"embedding": codebook})
        self.take_weights()

    @property
    def label(self) -> str:
        return f"vqkd-{self.width}"

    def codes_of(self, unit: Float[Tensor, "batch 3 size size"]) -> Int[Tensor, "batch tokens"]:
        """The code that is nearest to the vector of each patch, on the sphere."""
        tokens = self.encoder(2 * unit - 1)
        vectors = functional.normalize(self.encode_task_layer(tokens), dim=-1)
        codebook = self.get_parameter("quantize.embedding.weight")
        return nearest(vectors.flatten(0, 1), codebook).view(vectors.shape[:2])


class _Encoder(nn.Module):
    """A vision transformer that gives its patch tokens, normalised."""

    def __init__(self, params: VqkdParams) -> None:
        super().__init__()
        width, tokens = params.embed_dim, (params.image_size // PATCH_SIZE) ** 2
        projection = nn.Conv2d(3, width, PATCH_SIZE, PATCH_SIZE)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens + 1, width))
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.blocks = nn.Sequential(*(_Block(width, params.num_heads) for _ in range(params.depth)))
        self.fc_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](images).flatten(2).mT  # (batch, tokens, dim)
        first = self.cls_token.expand(len(images), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.pos_embed
        return self.fc_norm(self.blocks(tokens)[:, 1:])


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        inner = _MLP_RATIO * width
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.attn = _Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))


class _Attention(nn.Module):
    """Self-attention whose keys have no bias."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = functional.linear(x, self.qkv.weight, bias)
        split = qkv.unflatten(-1, (3, self.num_heads, -1))  # (batch, sequence, 3, heads, head_dim)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))
