"""The discrete VAE of DALL·E, whose codes BEiT and CAE predict."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.tokenizers.base import patch_encoders
from mimlab_objectives.tokenizers.published import PublishedParams, PublishedTokenizer

STRIDE = 8
"""Three poolings by two."""
EPSILON = 0.1
"""[0, 1] is squeezed to [0.1, 0.9], the range of the logit-Laplace distribution: dall_e/utils.py,
`map_pixels`."""
_GROUPS = 4


class DalleParams(PublishedParams):
    """The weights of the encoder, and its sizes."""

    vocabulary: int = Field(default=8192, ge=2)
    """Number of codes."""
    hidden: int = Field(default=256, ge=4, multiple_of=4)
    """Channels of the first group of blocks; each group has twice as many as the one before."""
    blocks_per_group: int = Field(default=2, ge=1)
    """Residual blocks of each of the four groups."""


@patch_encoders.register(
    "dalle", params=DalleParams, paper="Ramesh et al., 2021 (arXiv:2102.12092)"
)
class DalleTokenizer(PublishedTokenizer):
    """The encoder of DALL·E's discrete VAE: the likeliest of 8192 codes for each 8×8 pixels.

    Architecture, names of weights and constants are those of openai/DALL-E, dall_e/encoder.py and
    dall_e/utils.py. BEiT shows it images of 112 px for a grid of 14×14 (microsoft/unilm,
    beit/run_beit_pretraining.py); any square grid works. Its file `encoder.pkl` is a pickled
    module, which runs code when it is read and is refused; where the project is installed and
    trusted, `torch.save(torch.load("encoder.pkl", weights_only=False).state_dict(), "dalle.pt")`
    makes of it what is read here.

    Not verified, since the weights were not at hand: codes of a real image. On a GPU the official
    code computes all but the last layer in float16; here it is float32, whose convolutions PyTorch
    shortens to TF32 there unless it is told not to.
    """

    source: ClassVar[str] = (
        "the encoder of openai/DALL-E: its `encoder.pkl`, converted to a state_dict"
    )

    def __init__(self, params: DalleParams, grid: Grid) -> None:
        super().__init__(params, grid, stride=STRIDE, vocabulary=params.vocabulary)
        with shapes_only():
            self.blocks = _blocks(params)
        self.take_weights()

    @property
    def label(self) -> str:
        return f"dalle-{self.width}"

    def codes_of(self, unit: Float[Tensor, "batch 3 size size"]) -> Int[Tensor, "batch tokens"]:
        """The code of the largest logit of each place."""
        logits = self.blocks((1 - 2 * EPSILON) * unit + EPSILON)
        return logits.argmax(1).flatten(1)  # (batch, rows, columns) to (batch, tokens)


class _Conv(nn.Module):
    """A convolution that keeps the size; its weights are called as in dall_e/utils.py."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(outputs, inputs, side, side))
        self.b = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.w, self.b, padding=self.w.shape[-1] // 2)


class _Block(nn.Module):
    """A pre-activated bottleneck whose residual is divided by the square of the depth."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.gain = 1 / depth**2
        self.id_path = nn.Identity() if inputs == outputs else _Conv(inputs, outputs, 1)
        shapes = [(inputs, inner, 3), (inner, inner, 3), (inner, inner, 3), (inner, outputs, 1)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, shape in enumerate(shapes, start=1):
            layers[f"relu_{number}"] = nn.ReLU()
            layers[f"conv_{number}"] = _Conv(*shape)
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + self.gain * self.res_path(x)


def _blocks(params: DalleParams) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(input=_Conv(3, params.hidden, 7))
    channels = params.hidden
    for group in range(_GROUPS):
        inner: OrderedDict[str, nn.Module] = OrderedDict()
        outputs = params.hidden * 2**group
        for block in range(1, params.blocks_per_group + 1):
            depth = _GROUPS * params.blocks_per_group
            inner[f"block_{block}"] = _Block(channels, outputs, depth)
            channels = outputs
        if group < _GROUPS - 1:
            inner["pool"] = nn.MaxPool2d(2)
        layers[f"group_{group + 1}"] = nn.Sequential(inner)
    logits = _Conv(channels, params.vocabulary, 1)
    layers["output"] = nn.Sequential(OrderedDict[str, nn.Module](relu=nn.ReLU(), conv=logits))
    return nn.Sequential(layers)
