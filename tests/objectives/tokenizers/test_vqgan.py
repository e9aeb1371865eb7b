"""The VQGAN of MAGE."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from published_weights import VQGAN, Weights, vqgan_weights
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.images import from_unit
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.vqgan import VqganParams, VqganTokenizer


def tokenizer(tmp_path: Path, weights: Weights, grid: int = 8) -> VqganTokenizer:
    path = tmp_path / "vqgan.ckpt"
    torch.save({"state_dict": weights}, path)
    params = VqganParams.model_validate({"weights": str(path), **VQGAN})
    return VqganTokenizer(params, (grid, grid))


def unit_images(side: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def literal_vectors(weights: Weights, unit: Tensor) -> Tensor:
    """MaskGIT's encoder, layer by layer, in float64: (batch, tokens, code_dim)."""
    exact = {name: tensor.double() for name, tensor in weights.items()}

    def activated(name: str, x: Tensor) -> Tensor:
        x = x.unflatten(1, (32, -1))  # groups
        var, mean = torch.var_mean(x, dim=(2, 3, 4), correction=0, keepdim=True)
        x = ((x - mean) / (var + 1e-6).sqrt()).flatten(1, 2)
        x = x * exact[f"{name}.weight"][:, None, None] + exact[f"{name}.bias"][:, None, None]
        return x * x.sigmoid()

    def block(name: str, x: Tensor) -> Tensor:
        inner = activated(f"{name}.norm1", x)
        inner = functional.conv2d(inner, exact[f"{name}.conv1.weight"], padding=1)
        inner = activated(f"{name}.norm2", inner)
        inner = functional.conv2d(inner, exact[f"{name}.conv2.weight"], padding=1)
        shortcut = exact.get(f"{name}.nin_shortcut.weight")
        return inner + (x if shortcut is None else functional.conv2d(inner, shortcut))

    x = functional.conv2d(unit.double(), exact["encoder.conv_in.weight"], padding=1)
    for level in range(3):
        x = block(f"encoder.down.{level}.block.0", x)
        if level < 2:
            x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))
    x = block("encoder.mid.block_2", block("encoder.mid.block_1", x))
    last, bias = exact["encoder.conv_out.weight"], exact["encoder.conv_out.bias"]
    return functional.conv2d(activated("encoder.norm_out", x), last, bias).flatten(2).mT


def telling_weights() -> Weights:
    """Weights whose vectors of noise are spread as the codes are, so that noise has many."""
    weights = vqgan_weights()
    vectors = literal_vectors(weights, unit_images(64, seed=1))
    codes = weights["quantize.embedding.weight"]
    scale = codes.std() / vectors.std((0, 1)).float()
    weights["encoder.conv_out.weight"] *= scale[:, None, None, None]
    shift = codes.mean(0) - vectors.mean((0, 1)).float() * scale
    weights["encoder.conv_out.bias"] = weights["encoder.conv_out.bias"] * scale + shift
    return weights


def test_codes_are_the_nearest_to_the_layers_one_after_the_other(tmp_path: Path) -> None:
    weights, unit = telling_weights(), unit_images(32)
    vectors = literal_vectors(weights, unit)
    codebook = weights["quantize.embedding.weight"].double()
    expected = (vectors[:, :, None] - codebook).square().sum(-1).argmin(-1)
    codes = tokenizer(tmp_path, weights).encode(from_unit(unit))
    assert codes.shape == (2, 64) and codes.dtype == torch.int64
    assert torch.equal(codes, expected)
    assert len(codes.unique()) > 4


def test_pixels_run_from_zero_to_one(tmp_path: Path) -> None:
    built, seen = tokenizer(tmp_path, vqgan_weights()), list[Tensor]()
    built.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for value in (0.0, 0.5, 1.0):
        built.encode(from_unit(torch.full((1, 3, 32, 32), value)))
    levels = torch.stack([images.mean() for images in seen])
    torch.testing.assert_close(levels, torch.tensor([0.0, 0.5, 1.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("axis", [2, 3], ids=["down", "right"])
def test_what_moves_by_a_patch_takes_its_codes_along(tmp_path: Path, axis: int) -> None:
    grid = 24
    built, unit = tokenizer(tmp_path, telling_weights(), grid), unit_images(4 * grid)
    before = built.encode(from_unit(unit)).view(2, grid, grid)
    after = built.encode(from_unit(unit.roll(4, dims=axis))).view(2, grid, grid)
    inside = slice(10, 14)
    moved = before.roll(1, dims=axis - 1)[:, inside, inside]
    # Not all: what norms over the image see changes a little at its border.
    assert (after[:, inside, inside] == moved).float().mean() > 0.9
    assert (after[:, inside, inside] == before[:, inside, inside]).float().mean() < 0.5


def test_a_vqgan_of_taming_transformers_is_another_one(tmp_path: Path) -> None:
    weights = vqgan_weights()
    weights["quant_conv.weight"] = torch.zeros(6, 6, 1, 1)
    with pytest.raises(ParamsError, match=r"holds quant_conv\.weight, which .* another archit"):
        tokenizer(tmp_path, weights)


def test_the_published_sizes_read_sixteen_pixels_for_a_code() -> None:
    with torch.device("meta"):
        built = VqganTokenizer(VqganParams(sha256="0" * 64), (16, 16))
        codes = built.encode(torch.zeros(2, 3, 256, 256))
    assert codes.shape == (2, 256)
    count, inputs = 3 * 128 * 9, 128
    for outputs in (128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512):
        count += 2 * inputs + 2 * outputs + 9 * outputs * (inputs + outputs)
        count += outputs**2 if inputs != outputs else 0
        inputs = outputs
    count += 2 * 512 + 512 * 256 + 256 + 1024 * 256
    assert sum(tensor.numel() for tensor in built.state_dict().values()) == count
    assert (built.size, built.width, built.label) == (256, 1024, "vqgan-1024")
