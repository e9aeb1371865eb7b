"""The encoder of DALL·E's discrete VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from published_weights import DALLE, Weights, dalle_weights
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.images import from_unit
from mimlab_objectives.tokenizers.dalle import DalleParams, DalleTokenizer


def tokenizer(tmp_path: Path, weights: Weights, grid: int = 4, **sizes: Any) -> DalleTokenizer:
    path = tmp_path / "dalle.pt"
    torch.save(weights, path)
    given = {"weights": str(path), **DALLE, **sizes}
    return DalleTokenizer(DalleParams.model_validate(given), (grid, grid))


def unit_images(side: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def literal_logits(weights: Weights, unit: Tensor) -> Tensor:
    """The paper's encoder, layer by layer, in float64."""
    exact = {name: tensor.double() for name, tensor in weights.items()}

    def conv(name: str, x: Tensor, side: int) -> Tensor:
        return functional.conv2d(x, exact[f"{name}.w"], exact[f"{name}.b"], padding=side // 2)

    x = conv("blocks.input", 0.8 * unit.double() + 0.1, 7)
    for group in (1, 2, 3, 4):
        block = f"blocks.group_{group}.block_1"
        inner = x
        for number, side in ((1, 3), (2, 3), (3, 3), (4, 1)):
            inner = conv(f"{block}.res_path.conv_{number}", inner.relu(), side)
        x = (x if group == 1 else conv(f"{block}.id_path", x, 1)) + inner / 16
        if group < 4:
            x = functional.max_pool2d(x, 2)
    return conv("blocks.output.conv", x.relu(), 1)


def telling_weights() -> Weights:
    """Weights whose logits are around zero, so that noise has many codes."""
    weights = dalle_weights()
    mean = literal_logits(weights, unit_images(64, seed=1)).mean((0, 2, 3))
    weights["blocks.output.conv.b"] -= mean.float()
    return weights


def test_codes_are_those_of_the_layers_one_after_the_other(tmp_path: Path) -> None:
    weights, unit = telling_weights(), unit_images(32)
    expected = literal_logits(weights, unit).argmax(1).flatten(1)
    codes = tokenizer(tmp_path, weights).encode(from_unit(unit))
    assert codes.shape == (2, 16) and codes.dtype == torch.int64
    assert torch.equal(codes, expected)
    assert len(codes.unique()) > 4


def test_pixels_are_squeezed_away_from_zero_and_one(tmp_path: Path) -> None:
    built, seen = tokenizer(tmp_path, dalle_weights()), list[Tensor]()
    built.blocks.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for value in (0.0, 0.5, 1.0):
        built.encode(from_unit(torch.full((1, 3, 32, 32), value)))
    levels = torch.stack([images.mean() for images in seen])
    torch.testing.assert_close(levels, torch.tensor([0.1, 0.5, 0.9]))


@pytest.mark.parametrize("axis", [2, 3], ids=["down", "right"])
def test_what_moves_by_a_patch_takes_its_codes_along(tmp_path: Path, axis: int) -> None:
    grid = 16
    built, unit = tokenizer(tmp_path, telling_weights(), grid), unit_images(8 * grid)
    before = built.encode(from_unit(unit)).view(2, grid, grid)
    after = built.encode(from_unit(unit.roll(8, dims=axis))).view(2, grid, grid)
    # Six patches are the most that three 3 × 3 convolutions at each of four scales reach.
    inside = slice(7, 10)
    moved = before.roll(1, dims=axis - 1)
    assert torch.equal(after[:, inside, inside], moved[:, inside, inside])
    assert not torch.equal(after[:, inside, inside], before[:, inside, inside])


def test_the_published_sizes_have_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        built = DalleTokenizer(DalleParams(sha256="0" * 64), (14, 14))

    def conv(inputs: int, outputs: int, side: int) -> int:
        return inputs * outputs * side**2 + outputs

    count, inputs = conv(3, 256, 7) + conv(2048, 8192, 1), 256
    for outputs in (256, 256, 512, 512, 1024, 1024, 2048, 2048):
        inner = outputs // 4
        count += conv(inputs, inner, 3) + 2 * conv(inner, inner, 3) + conv(inner, outputs, 1)
        count += conv(inputs, outputs, 1) if inputs != outputs else 0
        inputs = outputs
    assert sum(tensor.numel() for tensor in built.state_dict().values()) == count == 53_786_240
    assert (built.size, built.width, built.label) == (112, 8192, "dalle-8192")
