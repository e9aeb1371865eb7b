"""The VQGAN whose codes MAGE predicts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.tokenizers.base import patch_encoders
from mimlab_objectives.tokenizers.nearest import nearest
from mimlab_objectives.tokenizers.published import PublishedParams, PublishedTokenizer

_NORM_GROUPS = 32
_NORM_EPSILON = 1e-6


class VqganParams(PublishedParams):
    """The weights of encoder and codebook, and their sizes."""

    vocabulary: int = Field(default=1024, ge=2)
    """Number of codes."""
    code_dim: int = Field(default=256, ge=1)
    """Length of a code's vector."""
    channels: int = Field(default=128, ge=_NORM_GROUPS, multiple_of=_NORM_GROUPS)
    """Of the first convolution."""
    multipliers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 1, 2, 2, 4), min_length=1
    )
    """Channels of each level, as multiples of the first; each level has half the side."""
    blocks_per_level: int = Field(default=2, ge=1)
    """Residual blocks of each level."""


@patch_encoders.register("vqgan", params=VqganParams, paper="Li et al., 2023 (arXiv:2211.09117)")
class VqganTokenizer(PublishedTokenizer):
    """MAGE's VQGAN: the nearest of 1024 codes for each 16×16 pixels of images in [0, 1].

    It is not the architecture of CompVis/taming-transformers but that of MaskGIT
    (google-research/maskgit, maskgit/nets/vqgan_tokenizer.py), under the names of the former: no
    attention, no bias but that of the last convolution, averages in the place of strided
    convolutions, no convolution between encoder and codebook. Where a block changes the number of
    channels, its shortcut reads what the block has computed, not what it was given. Sizes are
    those of LTH14/mage, config/vqgan.yaml, the layers those of LTH14/rcg,
    pixel_generator/mage/taming/modules/diffusionmodules/model.py, of the same author for the same
    file. It was trained at 256 px, a grid of 16×16; any square grid works.

    Not verified, since the weights were not at hand: codes of a real image, and that the name of
    the codebook in the file is `quantize.embedding.weight`, as in taming-transformers.
    """

    source: ClassVar[str] = (
        "MAGE's VQGAN, vqgan_jax_strongaug.ckpt: see the README of LTH14/mage; files of "
        "taming-transformers have another architecture"
    )
    ignored: ClassVar[tuple[str, ...]] = ("decoder.", "loss.")

    def __init__(self, params: VqganParams, grid: Grid) -> None:
        stride = 2 ** (len(params.multipliers) - 1)
        super().__init__(params, grid, stride=stride, vocabulary=params.vocabulary)
        with shapes_only():
            self.encoder = _Encoder(params)
            codebook = nn.Embedding(params.vocabulary, params.code_dim)
        self.quantize = nn.ModuleDict({"embedding": codebook})
        self.take_weights()

    @property
    def label(self) -> str:
        return f"vqgan-{self.width}"

    def codes_of(self, unit: Float[Tensor, "batch 3 size size"]) -> Int[Tensor, "batch tokens"]:
        """The code that is nearest to the vector of each place, in Euclidean distance."""
        vectors = self.encoder(unit).flatten(2).mT  # (batch, tokens, dim)
        codebook = self.get_parameter("quantize.embedding.weight")
        return nearest(vectors.flatten(0, 1), codebook).view(vectors.shape[:2])


class _Encoder(nn.Module):
    def __init__(self, params: VqganParams) -> None:
        super().__init__()
        channels = params.channels
        self.conv_in = _conv(3, channels, 3)
        self.down = nn.ModuleList()
        for multiplier in params.multipliers:
            blocks = nn.Sequential()
            for _ in range(params.blocks_per_level):
                blocks.append(_Block(channels, params.channels * multiplier))
                channels = params.channels * multiplier
            self.down.append(nn.ModuleDict({"block": blocks}))
        middle = {"block_1": _Block(channels, channels), "block_2": _Block(channels, channels)}
        self.mid = nn.ModuleDict(middle)
        self.norm_out = _norm(channels)
        self.conv_out = nn.Conv2d(channels, params.code_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for number, level in enumerate(self.down):
            x = level.get_submodule("block")(x if number == 0 else functional.avg_pool2d(x, 2))
        x = self.mid["block_2"](self.mid["block_1"](x))
        return self.conv_out(functional.silu(self.norm_out(x)))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), _conv(inputs, outputs, 3)
        self.norm2, self.conv2 = _norm(outputs), _conv(outputs, outputs, 3)
        self.nin_shortcut = None if inputs == outputs else _conv(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(x)))
        inner = self.conv2(functional.silu(self.norm2(inner)))
        return inner + (x if self.nin_shortcut is None else self.nin_shortcut(inner))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_NORM_GROUPS, channels, eps=_NORM_EPSILON)


def _conv(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
