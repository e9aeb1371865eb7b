"""BEiT v2's tokenizer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from published_weights import VQKD, Weights, vqkd_weights
from timm.models.beit import Beit
from torch import Tensor, nn

from mimlab_objectives.images import from_unit
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.vqkd import VqkdParams, VqkdTokenizer

GRID = (4, 4)


def tokenizer(tmp_path: Path, weights: Weights, **sizes: Any) -> VqkdTokenizer:
    path = tmp_path / "vqkd.pth"
    torch.save({"model": weights}, path)
    given = {"weights": str(path), **VQKD, **sizes}
    return VqkdTokenizer(VqkdParams.model_validate(given), GRID)


def unit_images(seed: int = 0) -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def timm_encoder(weights: Weights) -> Beit:
    """timm's own port of the architecture, which keeps the official names."""
    model = Beit(
        img_size=64,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=0,
        qkv_bias=True,
        use_abs_pos_emb=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType]
    ).eval()
    own = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    model.load_state_dict(own)
    return model


def literal_vectors(weights: Weights, tokens: Tensor) -> Tensor:
    """What is compared with the codes, of an encoder's tokens, in float64."""
    exact = {name: tensor.double() for name, tensor in weights.items()}
    inner = tokens.double() @ exact["encode_task_layer.0.weight"].T
    inner = (inner + exact["encode_task_layer.0.bias"]).tanh()
    return inner @ exact["encode_task_layer.2.weight"].T + exact["encode_task_layer.2.bias"]


@torch.no_grad()
def telling_weights(tmp_path: Path) -> Weights:
    """Weights whose vectors of noise are around zero, so that noise has many codes."""
    weights = vqkd_weights()
    weights["encoder.pos_embed"] /= 10
    tokens = tokenizer(tmp_path, weights).encoder(2 * unit_images(seed=1) - 1)
    weights["encode_task_layer.2.bias"] -= literal_vectors(weights, tokens).mean((0, 1)).float()
    return weights


@torch.no_grad()
def test_the_encoder_is_the_one_that_timm_has_ported(tmp_path: Path) -> None:
    weights, images = vqkd_weights(), 2 * unit_images() - 1
    oracle = timm_encoder(weights)
    assert oracle.fc_norm is not None
    expected = oracle.fc_norm(oracle.forward_features(images)[:, 1:])
    found = tokenizer(tmp_path, weights).encoder(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_codes_are_the_nearest_in_angle_of_all(tmp_path: Path) -> None:
    weights, unit = telling_weights(tmp_path), unit_images()
    built = tokenizer(tmp_path, weights)
    codes = built.encode(from_unit(unit))
    vectors = literal_vectors(weights, built.encoder(2 * unit - 1))
    codebook = weights["quantize.embedding.weight"].double()
    cosines = (vectors / vectors.norm(dim=-1, keepdim=True)) @ codebook.T
    assert codes.shape == (3, 16) and codes.dtype == torch.int64
    assert torch.equal(codes, cosines.argmax(-1))
    assert len(codes.unique()) > 4


def test_pixels_run_from_minus_one_to_one(tmp_path: Path) -> None:
    built, seen = tokenizer(tmp_path, vqkd_weights()), list[Tensor]()
    built.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for value in (0.0, 0.5, 1.0):
        built.encode(from_unit(torch.full((1, 3, 64, 64), value)))
    levels = torch.stack([images.mean() for images in seen])
    torch.testing.assert_close(levels, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("axis", [2, 3], ids=["down", "right"])
def test_without_positions_what_moves_by_a_patch_takes_its_codes_along(
    tmp_path: Path, axis: int
) -> None:
    weights, unit = telling_weights(tmp_path), unit_images()
    weights["encoder.pos_embed"].zero_()
    built = tokenizer(tmp_path, weights)
    before = built.encode(from_unit(unit)).view(3, *GRID)
    after = built.encode(from_unit(unit.roll(16, dims=axis))).view(3, *GRID)
    assert torch.equal(after, before.roll(1, dims=axis - 1))
    assert not torch.equal(after, before)


def test_a_codebook_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"quantize.embedding.weight is 20 × 6, not 30 × 6"):
        tokenizer(tmp_path, vqkd_weights(), vocabulary=30)


def test_another_grid_than_that_of_its_positions_is_refused() -> None:
    with pytest.raises(ParamsError, match="at 224 px it has a grid of 14×14, not 16×16") as caught:
        VqkdTokenizer(VqkdParams(sha256="0" * 64), (16, 16))
    assert caught.value.field == "image_size"


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="7 does not divide 768"):
        VqkdParams(num_heads=7)


def test_the_published_encoder_is_a_vit_base_without_biases_of_keys() -> None:
    with torch.device("meta"):
        built = VqkdTokenizer(VqkdParams(sha256="0" * 64), (14, 14))
        vit = timm.create_model("vit_base_patch16_224", num_classes=0)
    expected = sum(weight.numel() for weight in vit.parameters()) - 12 * 768
    assert sum(weight.numel() for weight in built.encoder.parameters()) == expected
    assert built.get_parameter("quantize.embedding.weight").shape == (8192, 32)
    assert (built.size, built.width, built.label) == (224, 8192, "vqkd-8192")
