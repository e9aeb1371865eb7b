from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import plan_of_hidden, select
from mimlab_objectives.objectives.base import Batch, Progress
from mimlab_objectives.objectives.mae import Mae, MaeParams
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget, patchify, unpatchify

START = Progress(step=0, fraction=0.0)
DECODER = MaeParams(decoder_depth=2, decoder_width=32, decoder_heads=4)
Weights = Mapping[str, Tensor]


def mae_of(patch: int = 4, *, image_size: int = 32, norm: str = "patch", seed: int = 0) -> Mae:
    torch.manual_seed(seed)
    backbone = BackboneParams(
        name="vit_tiny_patch16_224", patch_size=patch, embed_dim=48, depth=2, num_heads=3
    )
    target = PixelTarget(PixelParams.model_validate({"norm": norm}), patch, (8, 8))
    return Mae(DECODER, VitBackbone(backbone, image_size), target).eval()


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    scaled = centred / (variance + 1e-6) ** 0.5
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def naive_block(x: Tensor, weights: Weights, name: str, num_heads: int) -> Tensor:
    """Pre-norm transformer block with its attention matrix written out."""
    normed = layer_norm(x, weights, f"{name}.norm1")
    images, length, dim = x.shape
    qkv = linear(normed, weights, f"{name}.attn.qkv").reshape(images, length, 3, num_heads, -1)
    query, key, value = (qkv[:, :, i].transpose(1, 2) for i in range(3))
    logits = query @ key.transpose(-1, -2) / (dim // num_heads) ** 0.5
    shares = logits.exp() / logits.exp().sum(-1, keepdim=True)
    mixed = (shares @ value).transpose(1, 2).reshape(images, length, dim)
    x = x + linear(mixed, weights, f"{name}.attn.proj")
    wide = linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    wide = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
    return x + linear(wide, weights, f"{name}.mlp.fc2")


def naive_sincos(side: int, dim: int) -> Tensor:
    table = torch.zeros(side * side, dim, dtype=torch.float64)
    for token in range(side * side):
        for half, place in enumerate((token % side, token // side)):
            for i in range(dim // 4):
                angle = torch.tensor(place / 10000 ** (i / (dim // 4)), dtype=torch.float64)
                table[token, half * dim // 2 + i] = angle.sin()
                table[token, half * dim // 2 + dim // 4 + i] = angle.cos()
    return table


def naive_loss(weights: Weights, images: Tensor, shuffle: Tensor, num_kept: int) -> Tensor:
    """MAE as its paper tells it: shuffle, drop the tail, encode, append, un-shuffle, decode."""
    side, patch = images.shape[-1] // 4, 4
    pieces = torch.stack(
        [
            images[:, :, y * patch : (y + 1) * patch, x * patch : (x + 1) * patch]
            for y in range(side)
            for x in range(side)
        ],
        dim=1,
    )  # (batch, tokens, channel, row, column)
    kernel = weights["backbone.vit.patch_embed.proj.weight"].flatten(1)
    tokens = pieces.flatten(2) @ kernel.T + weights["backbone.vit.patch_embed.proj.bias"]
    tokens = tokens + naive_sincos(side, tokens.shape[-1])
    rows = torch.arange(len(images))[:, None]
    kept = tokens[rows, shuffle[:, :num_kept]]
    cls = weights["backbone.vit.cls_token"].expand(len(images), -1, -1)
    x = torch.cat([cls, kept], dim=1)
    for i in range(2):
        x = naive_block(x, weights, f"backbone.vit.blocks.{i}", 3)
    x = linear(layer_norm(x, weights, "backbone.vit.norm"), weights, "decoder.embed")
    missing = weights["decoder.mask_token"].expand(len(images), side * side - num_kept, -1)
    restore = shuffle.argsort(dim=1)
    whole = torch.cat([x[:, 1:], missing], dim=1)[rows, restore]
    x = torch.cat([x[:, :1], whole + naive_sincos(side, whole.shape[-1])], dim=1)
    for i in range(2):
        x = naive_block(x, weights, f"decoder.blocks.{i}", 4)
    prediction = linear(layer_norm(x, weights, "decoder.norm"), weights, "decoder.head")[:, 1:]
    pixels = pieces.permute(0, 1, 3, 4, 2).flatten(2)  # (row, column, channel)
    mean = pixels.mean(-1, keepdim=True)
    variance = (pixels - mean).square().sum(-1, keepdim=True) / (pixels.shape[-1] - 1)
    error = (prediction - (pixels - mean) / (variance + 1e-6) ** 0.5).square().mean(-1)
    hidden = (restore >= num_kept).double()
    return (error * hidden).sum() / hidden.sum()


@pytest.mark.parametrize("num_kept", [1, 16, 40])
def test_the_loss_is_that_of_the_paper_written_out(num_kept: int) -> None:
    mae = mae_of()
    images = torch.randn(3, 3, 32, 32)
    shuffle = torch.rand(3, 64).argsort(dim=1)
    hidden = torch.ones(3, 64, dtype=torch.bool)
    hidden[torch.arange(3)[:, None], shuffle[:, :num_kept]] = False
    plan = plan_of_hidden(hidden, (8, 8), torch.arange(len(hidden)), num_hidden=64 - num_kept)
    output = mae(Batch(torch.arange(3), images), plan, START)
    weights = {name: value.double() for name, value in mae.state_dict().items()}
    expected = naive_loss(weights, images.double(), shuffle, num_kept)
    # float32 against float64: four blocks leave some ten roundings of 6e-8
    loss = (output.loss_sum / output.loss_count).double()
    torch.testing.assert_close(loss, expected, rtol=2e-6, atol=0)


def test_predicting_zero_costs_767_of_768() -> None:
    mae = mae_of(16, image_size=64)
    torch.nn.init.zeros_(mae.decoder.get_parameter("head.weight"))
    plan = select(torch.zeros(4, 16), 12, torch.arange(4), (4, 4))
    output = mae(Batch(torch.arange(4), torch.randn(4, 3, 64, 64)), plan, START)
    # 1e-6 beside the variance moves the closed form by a millionth
    loss = (output.loss_sum / output.loss_count).detach()
    assert float(loss) == pytest.approx(767 / 768, rel=3e-6)


def test_a_constant_image_costs_nothing_to_predict_as_zero() -> None:
    mae = mae_of()
    torch.nn.init.zeros_(mae.decoder.get_parameter("head.weight"))
    plan = select(torch.zeros(1, 64), 48, torch.arange(1), (8, 8))
    assert mae(Batch(torch.arange(1), torch.full((1, 3, 32, 32), 0.5)), plan, START).loss_sum == 0


def test_the_order_of_kept_patches_does_not_matter(plan_of: Callable[..., MaskPlan]) -> None:
    mae, plan = mae_of(), plan_of(3, 48)
    assert plan.kept_ids is not None
    shuffled = replace(plan, kept_ids=plan.kept_ids[:, :, torch.randperm(16)])
    batch = Batch(torch.arange(3), torch.randn(3, 3, 32, 32))
    torch.testing.assert_close(
        mae(batch, shuffled, START).per_patch_loss,
        mae(batch, plan, START).per_patch_loss,
        rtol=1e-4,
        atol=1e-5,
    )


def test_initial_weights_are_the_papers() -> None:
    weights = mae_of(16, image_size=64).state_dict()
    for name, rows, columns in (
        ("backbone.vit.blocks.0.attn.qkv", 3 * 48, 48),
        ("backbone.vit.patch_embed.proj", 48, 768),
        ("decoder.head", 768, 32),
    ):
        bound = (6 / (rows + columns)) ** 0.5
        assert 0.99 * bound < weights[f"{name}.weight"].abs().max() <= bound
    assert not weights["decoder.head.bias"].any()
    assert 0.01 < weights["decoder.mask_token"].std() < 0.03


def test_reconstruct_gives_pixels_that_a_board_can_show(
    plan_of: Callable[..., MaskPlan], batch_of: Callable[..., Batch]
) -> None:
    """With the prediction zero, every patch shows its own mean."""
    mae, batch, plan = mae_of(), batch_of(2), plan_of(2, 48, rounds=2)
    torch.nn.init.zeros_(mae.decoder.get_parameter("head.weight"))
    pixels = mae.reconstruct(batch, plan)
    assert pixels.shape == (2, 2, 64, 48) and not pixels.requires_grad
    means = patchify(batch.images, 4).mean(-1, keepdim=True).expand(-1, -1, 48)
    torch.testing.assert_close(pixels[:, 1], means)
    assert unpatchify(pixels[:, 0], 4, (8, 8)).shape == batch.images.shape


def test_a_plan_with_unequal_counts_is_refused(batch_of: Callable[..., Batch]) -> None:
    hidden = torch.arange(64) < torch.tensor([[10], [20]])
    with pytest.raises(ValueError, match="different number of patches"):
        mae_of()(
            batch_of(2),
            plan_of_hidden(hidden, (8, 8), torch.arange(len(hidden)), num_hidden=None),
            START,
        )


@pytest.mark.parametrize(
    ("decoder", "field"),
    [
        ({"decoder_width": 100, "decoder_heads": 16}, "decoder_heads"),
        ({"decoder_width": 30, "decoder_heads": 2}, "decoder_width"),
    ],
)
def test_a_decoder_that_does_not_divide_is_refused(decoder: dict[str, int], field: str) -> None:
    mae = mae_of()
    with pytest.raises(ParamsError) as caught:
        Mae(MaeParams.model_validate(decoder), mae.backbone, mae.target)
    assert caught.value.field == field


def test_the_defaults_are_the_papers_and_unknown_parameters_are_refused() -> None:
    params = MaeParams()
    assert (params.decoder_depth, params.decoder_width, params.decoder_heads) == (8, 512, 16)
    with pytest.raises(ValidationError):
        MaeParams.model_validate({"decoder_dept": 4})
