from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_mapet import literal_masks, literal_predictions
from torch import Tensor

from mimlab_objectives.backbones.two_streams import Rows, two_streams, visible
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import plan_of_hidden, select
from mimlab_objectives.objectives.base import Batch, Progress
from mimlab_objectives.objectives.mapet import (
    Mapet,
    Permuted,
    PermutedParams,
    Pim,
    target_order,
)
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import Target
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

START = Progress(step=0, fraction=0.0)
BOTH = pytest.mark.parametrize("kind", [Mapet, Pim])


class Codes(Target):
    """A class for each patch: whether its mean is above zero, and its place."""

    kind = "classes"

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__(None, 4, grid)
        self.dim = dim

    def compute(self, images: Tensor) -> Tensor:
        tokens = self.grid[0] * self.grid[1]
        return (torch.arange(tokens, device=images.device) % self.dim).expand(len(images), -1)

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        return torch.zeros(*prediction.shape[:3], 48)


def permuted(kind: type[Permuted], *, seed: int = 0, drop_path: float = 0.0) -> Permuted:
    torch.manual_seed(seed)
    params = BackboneParams(
        name="vit_tiny_patch16_224",
        patch_size=4,
        embed_dim=48,
        depth=3,
        num_heads=3,
        drop_path=drop_path,
        layer_scale=0.1,
    )
    target = PixelTarget(PixelParams(norm="none"), 4, (8, 8))
    objective = kind(PermutedParams(), VitBackbone(params, 32), target).eval()
    for parameter in objective.parameters():  # no weight is zero, no branch is faint
        torch.nn.init.normal_(parameter, std=0.2)
    return objective


def images_of(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def plan_of(count: int, num_hidden: int, seed: int = 0) -> MaskPlan:
    return select(torch.zeros(count, 64), num_hidden, torch.arange(count) + 1000 * seed, (8, 8))


# ---- which row sees which key: CLS P0 P1 … | mask tokens in raster order

# N = 4, z = [2, 0, 3, 1]; two of context
QUERY_A = {1: "11011 10", 3: "11010 11"}
CONTENT_A = {
    "cls": "11010 11", 0: "11010 11", 1: "11111 00", 2: "11010 11", 3: "11011 10",
    "M1": "11010 11", "M3": "11010 11",
}  # fmt: skip
QUERY_B = {0: "10010 111", 1: "11011 010", 3: "11010 011"}  # one of context
CONTENT_B = {
    "cls": "10010 111", 0: "11010 011", 1: "11111 000", 2: "10010 111", 3: "11011 010",
    "M0": "10010 111", "M1": "10010 111", "M3": "10010 111",
}  # fmt: skip
QUERY_C = {1: "11011 1"}  # three of context
CONTENT_C = {
    "cls": "11011 1", 0: "11011 1", 1: "11111 0", 2: "11011 1", 3: "11011 1", "M1": "11011 1",
}  # fmt: skip
QUERY_D = {0: "10010 1101", 1: "11011 0100", 2: "10000 1111", 3: "11010 0101"}  # no context
CONTENT_D = {
    "cls": "10000 1111", 0: "11010 0101", 1: "11111 0000", 2: "10010 1101", 3: "11011 0100",
    **{f"M{i}": "10000 1111" for i in range(4)},
}  # fmt: skip
QUERY_F = {2: "1110101110 111", 4: "1111101110 011", 8: "1111111110 001"}  # the paper's figure
CONTENT_F = dict.fromkeys(("cls", *range(9), "M2", "M4", "M8"), "1110101110 111") | {
    2: "1111101110 011", 4: "1111111110 001", 8: "1111111111 000",
}  # fmt: skip
QUERY_P = {1: "11011", 3: "11010"}  # two of context, without mask tokens
CONTENT_P = {"cls": "11010", 0: "11010", 1: "11111", 2: "11010", 3: "11011"}
VECTORS = {
    "c=2": ([3, 1], 4, QUERY_A, CONTENT_A),
    "c=1": ([0, 3, 1], 4, QUERY_B, CONTENT_B),
    "c=3": ([1], 4, QUERY_C, CONTENT_C),
    "c=0": ([2, 0, 3, 1], 4, QUERY_D, CONTENT_D),
    "figure": ([2, 4, 8], 9, QUERY_F, CONTENT_F),
    "pim": ([3, 1], 4, QUERY_P, CONTENT_P),
}


def in_raster(order: list[int], tokens: int, *, mask_keys: bool) -> tuple[Tensor, Tensor]:
    """(content, query) masks of the static layout, its rows and columns put into raster order."""
    context = [i for i in range(tokens) if i not in order]
    num = len(order)
    rows = Rows(num if mask_keys else 0, 1 + len(context), num)
    mask = visible(rows, torch.device("cpu"))
    masks = [f"M{i}" for i in order] if mask_keys else []
    names = [*masks, "cls", *context, *order]
    raster = ["cls", *range(tokens), *(f"M{i}" for i in sorted(order) if mask_keys)]
    keys = [names.index(name) for name in raster]
    queries = [len(names) + order.index(i) for i in sorted(order)]
    return mask[keys][:, keys], mask[queries][:, keys]


def text_of(mask: Tensor) -> list[str]:
    return ["".join(str(int(value)) for value in row) for row in mask]


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("form", ["static", "literal"])
def test_rows_see_what_the_paper_says(name: str, form: str) -> None:
    order, tokens, query, content = VECTORS[name]
    if form == "static":
        own, other = in_raster(order, tokens, mask_keys=name != "pim")
    else:
        masks = literal_masks(torch.tensor([order]), tokens, mask_keys=name != "pim")
        own, other = masks[0][0], masks[1][0]
    assert text_of(own) == [row.replace(" ", "") for row in content.values()]
    assert text_of(other) == [row.replace(" ", "") for row in query.values()]


@settings(max_examples=30, deadline=None)
@given(context=st.integers(1, 60), targets=st.integers(1, 60))
def test_every_row_sees_every_position_once(context: int, targets: int) -> None:
    mask = visible(Rows(targets, context, targets), torch.device("cpu"))
    assert mask.shape == (context + 3 * targets, context + 2 * targets)
    assert (mask.sum(1) == context + targets).all()
    alone = visible(Rows(0, context, targets), torch.device("cpu")).sum(1)
    order = torch.arange(targets)
    assert torch.equal(alone[:context], torch.full((context,), context))
    assert torch.equal(alone[context:], torch.cat([context + order + 1, context + order]))


def test_attention_over_equal_scores_is_the_mean_of_what_is_seen() -> None:
    values = {"cls": 1.0, 0: 2.0, 1: 3.0, 2: 5.0, 3: 7.0, "M1": 11.0, "M3": 13.0}
    content, query = in_raster([3, 1], 4, mask_keys=True)
    table = torch.tensor(list(values.values()))
    mean = (torch.cat([content, query]).float() @ table) / 5
    expected = [6.4, 6.4, 3.6, 6.4, 5.2, 6.4, 6.4, 5.2, 6.4]
    torch.testing.assert_close(mean, torch.tensor(expected))


# ---- the whole network


@BOTH
@pytest.mark.parametrize("num_hidden", [1, 30, 48, 63])
def test_static_and_literal_forms_give_equal_predictions(
    kind: type[Permuted], num_hidden: int
) -> None:
    objective, plan = permuted(kind), plan_of(3, num_hidden)
    order = target_order(plan)
    images = images_of(3)
    ours = objective.predict(images, plan, order)
    theirs = literal_predictions(objective, images, order[:, 0])
    in_order = order[:, 0].argsort(dim=1).argsort(dim=1)  # place of each target in raster order
    theirs = theirs.gather(1, in_order[..., None].expand_as(theirs))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("place", [0, 1, 24, 47])
def test_a_prediction_depends_on_context_and_earlier_targets_alone(
    kind: type[Permuted], place: int
) -> None:
    objective, plan = permuted(kind), plan_of(1, 48)
    order = target_order(plan)
    images = images_of(1).requires_grad_()
    objective.predict(images, plan, order)[0, place].square().sum().backward()
    assert images.grad is not None
    pulled = images.grad.abs().unfold(2, 4, 4).unfold(3, 4, 4).sum((0, 1, 4, 5)).flatten() > 0
    seen = ~plan.hidden[0, 0]
    seen[order[0, 0, :place]] = True
    assert torch.equal(pulled, seen)


def test_a_query_of_mapet_knows_where_later_targets_are_and_pim_does_not() -> None:
    """The last target is moved elsewhere: only its mask token's position changes."""
    for kind, differs in ((Mapet, True), (Pim, False)):
        objective, images, plan = permuted(kind), images_of(1), plan_of(1, 48)
        order = target_order(plan)
        moved = objective.backbone.vit.pos_embed
        assert moved is not None
        before = objective.predict(images, plan, order)[0, 0]
        with torch.no_grad():
            moved[0, 1 + order[0, 0, -1]] += 1
        assert (not torch.equal(before, objective.predict(images, plan, order)[0, 0])) == differs


@BOTH
def test_the_order_of_the_context_does_not_matter_that_of_the_targets_does(
    kind: type[Permuted],
) -> None:
    objective, images, plan = permuted(kind), images_of(2), plan_of(2, 48)
    order = target_order(plan)
    assert plan.kept_ids is not None
    other = replace(plan, kept_ids=plan.kept_ids.flip(2))
    prediction = objective.predict(images, plan, order)
    torch.testing.assert_close(objective.predict(images, other, order), prediction)
    swapped = objective.predict(images, plan, order.flip(2)).flip(1)
    assert not torch.allclose(swapped, prediction, atol=1e-3)


@BOTH
def test_stochastic_depth_drops_a_branch_in_both_streams_or_in_neither(
    kind: type[Permuted],
) -> None:
    objective = permuted(kind, drop_path=0.5).train()
    rows = Rows(0 if kind is Pim else 4, 3, 4)
    sequence = torch.randn(64, rows.keys + 4, 48)
    branch = objective.backbone.blocks.get_submodule("1.drop_path1")
    seen: list[Tensor] = []
    branch.register_forward_hook(lambda *call: seen.append(call[2]))
    torch.manual_seed(0)
    two_streams(objective.backbone.blocks, sequence, rows)
    moved = seen[0].abs().sum(2) > 0  # (images, rows), content and queries
    assert torch.equal(moved, moved[:, :1].expand_as(moved))
    assert 10 < int(moved[:, 0].sum()) < 54


@BOTH
def test_every_parameter_gets_gradient_under_classes(kind: type[Permuted]) -> None:
    torch.manual_seed(0)
    params = BackboneParams(patch_size=4, embed_dim=32, depth=2, num_heads=2, layer_scale=0.1)
    objective = kind(PermutedParams(), VitBackbone(params, 32), Codes(7, (8, 8)))
    output = objective(Batch(torch.arange(4), images_of(4)), plan_of(4, 48), START)
    output.loss_sum.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_labels_follow_the_order_of_the_predictions() -> None:
    """A head that says each target's own class, wherever it stands in the order, costs nothing."""
    torch.manual_seed(0)
    params = BackboneParams(patch_size=4, embed_dim=64, depth=1, num_heads=1)
    objective = Mapet(PermutedParams(), VitBackbone(params, 32), Codes(64, (8, 8))).eval()
    vit = objective.backbone.vit
    assert vit.pos_embed is not None
    with torch.no_grad():
        for name, parameter in vit.blocks.named_parameters():
            if "attn.proj" in name or "mlp.fc2" in name:  # a query stays where it began
                parameter.zero_()
        vit.pos_embed[0, 1:] = 64 * torch.eye(64)
        objective.head.weight.copy_(64 * torch.eye(64))
    output = objective(Batch(torch.arange(2), images_of(2)), plan_of(2, 40), START)
    assert output.per_patch_loss is not None
    assert torch.equal(output.per_patch_loss > 0, torch.zeros(2, 1, 64, dtype=torch.bool))
    assert output.loss_count == 80


def test_zero_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    params = BackboneParams(patch_size=4, embed_dim=32, depth=1, num_heads=2)
    objective = Mapet(PermutedParams(), VitBackbone(params, 32), Codes(512, (8, 8)))
    torch.nn.init.zeros_(objective.head.weight)
    output = objective(Batch(torch.arange(2), images_of(2)), plan_of(2, 48), START)
    loss = (output.loss_sum / output.loss_count).detach()
    torch.testing.assert_close(loss, torch.tensor(512.0).log())


@pytest.mark.parametrize(
    ("dim", "heads", "parameters"),
    [(192, 3, 7_110_272), (384, 6, 24_829_184), (768, 12, 92_117_504)],
)
def test_sizes_are_the_papers(dim: int, heads: int, parameters: int) -> None:
    params = BackboneParams(
        name="vit_tiny_patch16_224", embed_dim=dim, num_heads=heads, layer_scale=0.1
    )
    with torch.device("meta"):
        objective = Mapet(PermutedParams(), VitBackbone(params, 224), Codes(8192, (14, 14)))
    assert sum(parameter.numel() for parameter in objective.parameters()) == parameters
    assert target_order(select(torch.zeros(2, 196), 147, torch.arange(2), (14, 14))).shape[2] == 147


def test_initial_weights_are_the_papers() -> None:
    torch.manual_seed(0)
    params = BackboneParams(patch_size=4, embed_dim=96, depth=2, num_heads=3, layer_scale=0.1)
    target = PixelTarget(PixelParams(), 4, (8, 8))
    weights = Mapet(PermutedParams(), VitBackbone(params, 32), target).state_dict()
    for name in ("mask_token", "head.weight", "backbone.vit.blocks.1.mlp.fc2.weight"):
        assert weights[name].std() == pytest.approx(0.02, rel=0.3), name
    assert weights["backbone.vit.pos_embed"].std() == pytest.approx(0.02, rel=0.05)
    assert weights["backbone.vit.cls_token"].abs().max() < 1e-5
    assert (weights["backbone.vit.blocks.0.ls1.gamma"] == 0.1).all()
    assert not weights["head.bias"].any()


def test_the_order_is_drawn_by_the_key_of_the_image_and_by_nothing_else() -> None:
    plan = plan_of(512, 48)
    order = target_order(plan)
    assert torch.equal(target_order(plan.part(5, 7)), order[5:7])
    assert torch.equal(
        order.sort(dim=2).values[:, 0], plan.hidden[:, 0].nonzero()[:, 1].view(512, 48)
    )
    assert not torch.equal(target_order(plan_of(512, 48, seed=1)), order)
    # first places are uniform over the targets: no corner of the image comes first more often
    first = (order[:, 0, 0] < 32).float().mean()
    assert abs(float(first) - 0.5) < 4 * 0.5 / 512**0.5


def test_kept_patches_that_are_replaced_stay_context_without_content() -> None:
    objective, plan, images = permuted(Mapet), plan_of(1, 48), images_of(1)
    assert plan.kept_ids is not None
    patch = int(plan.kept_ids[0, 0, 3])
    replaced = torch.zeros_like(plan.kept_ids, dtype=torch.bool)
    replaced[..., 3] = True
    covered = plan.hidden.clone()
    covered[..., patch] = True
    plan = replace(
        plan, replaced=replaced, hidden=covered, predicted=covered, weight=covered.float()
    )
    row, column = divmod(patch, 8)
    other = images.clone()
    other[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    order = target_order(plan)
    assert torch.equal(
        objective.predict(images, plan, order), objective.predict(other, plan, order)
    )
    output = objective(Batch(torch.arange(1), images), plan, START)
    assert output.loss_count == 48 and output.per_patch_loss is not None
    assert output.per_patch_loss[0, 0, patch] == 0


@BOTH
def test_a_board_shows_every_patch_as_predicted_from_the_kept_ones(kind: type[Permuted]) -> None:
    objective, plan, images = permuted(kind), plan_of(2, 48), images_of(2)
    order = target_order(plan)
    first = objective.reconstruct(Batch(torch.arange(2), images), plan)
    alone = objective.predict(images, plan, order)[:, 0]
    image = torch.arange(2)
    torch.testing.assert_close(first[image, 0, order[:, 0, 0]], alone, atol=1e-5, rtol=1e-4)


def test_a_plan_with_unequal_counts_is_refused(batch_of: Callable[..., Batch]) -> None:
    hidden = torch.arange(64) < torch.tensor([[10], [20]])
    plan = plan_of_hidden(hidden, (8, 8), torch.arange(2), num_hidden=None)
    with pytest.raises(ValueError, match="different number of patches"):
        permuted(Mapet)(batch_of(2), plan, START)


def test_blocks_that_are_not_plain_are_refused() -> None:
    params = BackboneParams(name="deit3_small_patch16_224", patch_size=4, depth=1)
    target = PixelTarget(PixelParams(), 4, (8, 8))
    Mapet(PermutedParams(), VitBackbone(params, 32), target)  # plain, with LayerScale
    backbone = VitBackbone(params, 32)
    backbone.vit.blocks[0].attn = torch.nn.Identity()
    with pytest.raises(ParamsError) as caught:
        Mapet(PermutedParams(), backbone, target)
    assert caught.value.field == "name"
