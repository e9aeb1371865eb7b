"""An encoder starts from exactly the weights that it is given, or not at all."""

from __future__ import annotations

import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from mimlab_objectives.backbones.initial import fitted, start_from
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.registry import ParamsError

SIZES = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
NAMES = ["vit_tiny_patch16_224", "deit3_small_patch16_224", "vit_small_patch14_reg4_dinov2"]


def encoder(name: str = NAMES[0], image_size: int = 16) -> VitBackbone:
    return VitBackbone(BackboneParams.model_validate({"name": name} | SIZES), image_size)


def weights_of(backbone: VitBackbone) -> dict[str, torch.Tensor]:
    return {name: torch.rand_like(w) for name, w in backbone.vit.state_dict().items()}


def refusal(weights: dict[str, torch.Tensor]) -> str:
    with pytest.raises(ParamsError) as caught:
        fitted(weights, encoder())
    assert caught.value.field == "init"
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_taken_bit_for_bit_and_a_head_is_left_out(name: str) -> None:
    backbone = encoder(name)
    weights = weights_of(backbone)
    head = {"head.weight": torch.zeros(10, 16), "head.bias": torch.zeros(10)}
    assert start_from(backbone, weights | head) == ""
    found = backbone.vit.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", NAMES)
def test_positions_of_another_grid_are_resampled_as_timm_does(name: str) -> None:
    small, large = encoder(name, 16), encoder(name, 24)
    weights = weights_of(small)
    assert start_from(large, weights) == "positions resampled from 4 × 4 to 6 × 6 patches"
    prefix = 0 if large.vit.no_embed_class else large.num_prefix_tokens
    expected = resample_abs_pos_embed(
        weights["pos_embed"], [6, 6], old_size=[4, 4], num_prefix_tokens=prefix
    )
    found = large.vit.state_dict()
    assert torch.equal(found["pos_embed"], expected)
    assert torch.equal(expected[:, :prefix], weights["pos_embed"][:, :prefix])
    assert all(torch.equal(found[k], weights[k]) for k in weights if k != "pos_embed")


def test_it_can_be_checked_without_memory() -> None:
    with torch.device("meta"):
        empty = encoder(image_size=24)
    assert fitted(weights_of(encoder()), empty).weights["pos_embed"].shape == (1, 37, 16)


def test_missing_and_unknown_weights_are_named() -> None:
    weights = weights_of(encoder())
    del weights["norm.bias"], weights["cls_token"]
    weights["decoder.weight"] = torch.zeros(1)
    said = refusal(weights)
    assert "lack cls_token, norm.bias and have decoder.weight, which it does not know" in said


def test_many_are_counted() -> None:
    assert "lack blocks.0.attn.proj.bias, " in (said := refusal({})) and " more" in said


def test_other_shapes_are_named() -> None:
    weights = weights_of(encoder())
    weights["norm.bias"] = torch.zeros(8)
    assert "norm.bias is 8 instead of 16" in refusal(weights)


@pytest.mark.parametrize("shape", [(1, 12, 16), (1, 1, 16), (17,), (1, 10, 8)])
def test_positions_that_are_none_are_refused(shape: tuple[int, ...]) -> None:
    weights = weights_of(encoder()) | {"pos_embed": torch.zeros(shape)}
    assert "pos_embed" in (said := refusal(weights)) or "no square grid" in said
