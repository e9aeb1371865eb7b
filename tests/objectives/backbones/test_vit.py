from dataclasses import replace

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import Tensor

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone, grid_of
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import plan_of_hidden, select
from mimlab_objectives.registry import ParamsError

TINY = BackboneParams(name="vit_tiny_patch16_224", patch_size=4, embed_dim=32, depth=2, num_heads=2)
FAMILIES = [
    "vit_tiny_patch16_224",  # class token with its own position
    "deit3_small_patch16_224",  # class token without position, LayerScale
    "vit_base_patch16_siglip_224",  # no prefix
    "vit_base_patch16_clip_224",  # norm before the blocks, projection without bias
    "vit_small_patch14_reg4_dinov2",  # registers
]


def backbone_of(params: BackboneParams = TINY, *, seed: int = 0) -> VitBackbone:
    torch.manual_seed(seed)
    return VitBackbone(params, 32).eval()


def images_of(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def plan_of(count: int, num_hidden: int, seed: int = 0) -> MaskPlan:
    keys = torch.arange(count) + 1000 * seed
    return select(torch.zeros(count, 64), num_hidden, keys, (8, 8))


def rounds_of(*plans: MaskPlan) -> MaskPlan:
    names = ("hidden", "kept_ids", "restore_ids", "predicted", "weight", "repaired")
    return replace(plans[0], **{n: torch.cat([getattr(p, n) for p in plans], 1) for n in names})


@pytest.mark.parametrize("name", FAMILIES)
def test_with_nothing_hidden_both_modes_equal_plain_timm(name: str) -> None:
    params = BackboneParams(name=name, patch_size=4, embed_dim=32, depth=2, num_heads=2)
    backbone, images, plan = backbone_of(params), images_of(3), plan_of(3, 0)
    plain = backbone.vit.forward_features(images)
    token = torch.full((1, 1, 32), float("nan"))
    assert torch.equal(backbone.encode_full(images, plan, token), plain)
    # The visible mode projects patches by a matrix product, which sums in another order than the
    # convolution: equal to float32 rounding, not to the bit.
    torch.testing.assert_close(backbone.encode_visible(images, plan), plain, rtol=1e-5, atol=1e-5)


def test_plain_timm_loads_the_encoder() -> None:
    sizes = TINY.model_dump(include={"patch_size", "embed_dim", "depth", "num_heads"})
    vit = timm.create_model(TINY.name, img_size=32, num_classes=0, **sizes).eval()
    assert isinstance(vit, VisionTransformer)
    backbone = backbone_of()
    vit.load_state_dict(backbone.vit.state_dict())
    images = images_of(2)
    assert torch.equal(vit.forward_features(images), backbone.vit.forward_features(images))


@pytest.mark.parametrize("num_hidden", [1, 48, 63])
def test_the_visible_mode_never_reads_a_hidden_pixel(num_hidden: int) -> None:
    backbone, images, plan = backbone_of(), images_of(4), plan_of(4, num_hidden)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    poisoned = torch.where(pixels[:, None], torch.tensor(float("nan")), images)
    encoded = backbone.encode_visible(poisoned, plan)
    assert encoded.shape == (4, 1 + 64 - num_hidden, 32)
    assert torch.equal(encoded, backbone.encode_visible(images, plan))


def test_the_visible_mode_equals_timm_on_the_gathered_tokens() -> None:
    backbone, images, plan = backbone_of(), images_of(3), plan_of(3, 40)
    fed = backbone.vit._pos_embed(backbone.vit.patch_embed(images))
    rows = [
        torch.cat([row[:1], row[1:][~hidden]])
        for row, hidden in zip(fed, plan.hidden[:, 0], strict=True)
    ]
    expected = backbone.vit.norm(backbone.vit.blocks(torch.stack(rows)))
    torch.testing.assert_close(
        backbone.encode_visible(images, plan), expected, rtol=1e-5, atol=1e-5
    )


def test_the_mask_token_replaces_embeddings_before_positions() -> None:
    backbone, images, plan = backbone_of(), images_of(2), plan_of(2, 64)
    token = torch.randn(1, 1, 32)
    first, second = backbone.encode_full(images, plan, token)
    assert torch.equal(first, second)  # all is hidden: the images are gone
    assert first[1:].unique(dim=0).shape[0] == 64  # the positions are not


def test_rounds_are_folded_image_by_image() -> None:
    backbone, images = backbone_of(), images_of(3)
    plans = plan_of(3, 40, seed=1), plan_of(3, 40, seed=2)
    token = torch.randn(1, 1, 32)
    for encode in (
        lambda plan: backbone.encode_visible(images, plan),
        lambda plan: backbone.encode_full(images, plan, token),
    ):
        folded = encode(rounds_of(*plans)).unflatten(0, (3, 2))
        for number, plan in enumerate(plans):
            torch.testing.assert_close(folded[:, number], encode(plan), rtol=1e-5, atol=1e-5)


def test_kept_patches_may_come_in_any_order() -> None:
    backbone, images, plan = backbone_of(), images_of(2), plan_of(2, 40)
    assert plan.kept_ids is not None
    order = torch.randperm(24)
    shuffled = replace(plan, kept_ids=plan.kept_ids[:, :, order])
    encoded, moved = (
        backbone.encode_visible(images, plan),
        backbone.encode_visible(images, shuffled),
    )
    torch.testing.assert_close(encoded[:, 1:][:, order], moved[:, 1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoded[:, :1], moved[:, :1], rtol=1e-5, atol=1e-5)


def test_a_plan_with_unequal_counts_is_refused_by_the_visible_mode() -> None:
    hidden = torch.zeros(2, 64, dtype=torch.bool)
    hidden[0, :10], hidden[1, :20] = True, True
    plan = plan_of_hidden(hidden, (8, 8), torch.arange(len(hidden)), num_hidden=None)
    with pytest.raises(ValueError, match="different number of patches"):
        backbone_of().encode_visible(images_of(2), plan)


@pytest.mark.parametrize("name", FAMILIES)
def test_sincos_positions_are_frozen_and_zero_for_the_prefix(name: str) -> None:
    backbone = backbone_of(BackboneParams(name=name, patch_size=4, embed_dim=32, num_heads=2))
    backbone.set_sincos_positions()
    table = backbone.vit.pos_embed
    assert table is not None and not table.requires_grad
    prefix, patches = table[0, :-64], table[0, -64:]
    assert not prefix.any()
    # the first channel of a quarter is the sine of the column, or of the row, itself
    columns, rows = torch.arange(8.0).repeat(8), torch.arange(8.0).repeat_interleave(8)
    torch.testing.assert_close(patches[:, 0], columns.sin())
    torch.testing.assert_close(patches[:, 16], rows.sin())


@pytest.mark.parametrize(
    ("params", "image_size", "grid"),
    [
        (BackboneParams(), 224, (14, 14)),
        (BackboneParams(), 96, (6, 6)),
        (BackboneParams(patch_size=8), 96, (12, 12)),
        (BackboneParams(name="vit_gigantic_patch14_224"), 224, (16, 16)),  # 1.8 G weights
        (BackboneParams(name="vit_small_patch16_18x2_224"), 224, (14, 14)),
        (TINY, 32, (8, 8)),
    ],
)
def test_grid(params: BackboneParams, image_size: int, grid: tuple[int, int]) -> None:
    assert grid_of(params, image_size) == grid


@pytest.mark.parametrize(
    ("params", "image_size", "field", "message"),
    [
        ({"name": "vit_smal_patch16_224"}, 224, "name", "nearest names are vit_small_patch16_224"),
        ({"name": "qqqq"}, 224, "name", "timm knows no model 'qqqq'$"),
        ({"name": "resnet50"}, 224, "name", "not a timm VisionTransformer"),
        ({"name": "deit_tiny_distilled_patch16_224"}, 224, "name", "not a timm VisionTransformer"),
        ({"name": "beit_base_patch16_224"}, 224, "name", "not a timm VisionTransformer"),
        ({}, 225, "image_size", "225 px is no multiple of the 16 px patch; 224 or 240 is"),
        ({}, 10, "image_size", "10 px is no multiple of the 16 px patch; 16 is"),
        ({"num_heads": 5}, 224, "num_heads", "384 is not divisible by num_heads 5; 1, 2, 3, 4, 6"),
        ({"embed_dim": 100}, 224, "embed_dim", "100 is not divisible by num_heads 6"),
    ],
)
def test_what_cannot_be_built_is_refused(
    params: dict[str, str | int], image_size: int, field: str, message: str
) -> None:
    chosen = BackboneParams.model_validate(params)
    for build in (grid_of, VitBackbone):
        with pytest.raises(ParamsError, match=message) as caught:
            build(chosen, image_size)
        assert caught.value.field == field


def test_drop_path_grows_to_what_was_asked() -> None:
    params = TINY.model_copy(update={"drop_path": 0.2, "depth": 3})
    blocks = VitBackbone(params, 32).vit.blocks
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])
