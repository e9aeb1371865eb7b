from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Progress, objectives
from mimlab_objectives.objectives.localmim import SCALES, LocalMim, LocalMimParams
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.hog_features import hog
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

START = Progress(step=0, fraction=0.0)
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]


def localmim_of(depth: int = 4, *, patch: int = 4, size: int = 32, **params: object) -> LocalMim:
    torch.manual_seed(0)
    shape = {
        "name": "vit_tiny_patch16_224",
        "patch_size": patch,
        "embed_dim": 32,
        "num_heads": 2,
        "depth": depth,
    }
    backbone = VitBackbone(BackboneParams.model_validate(shape), size)
    target = PixelTarget(PixelParams(), patch, backbone.grid)  # it has targets of its own
    small = {"decoder_width": 32, "decoder_heads": 2} | params
    return LocalMim(LocalMimParams.model_validate(small), backbone, target).eval()


def test_it_is_registered_and_needs_no_target() -> None:
    assert objectives["localmim"].part is LocalMim
    assert LocalMim.target_kinds == {"latent"} and LocalMim.mode == "visible"


def test_the_paper_s_grids_and_taps() -> None:
    with torch.device("meta"):
        backbone = VitBackbone(BackboneParams(name="vit_base_patch16_224"), 224)
        target = PixelTarget(PixelParams(), 16, backbone.grid)
        objective = LocalMim(LocalMimParams(), backbone, target)
        coarse = [head(torch.empty(1, 256, 14, 14)).shape for head in objective.heads]
    assert objective.taps == (2, 4, 10, 12)
    assert coarse == [(1, 27, side, side) for side in (56, 28, 14, 7)]


@pytest.mark.parametrize(
    ("depth", "taps"),
    [(4, (1, 2, 3, 4)), (6, (1, 3, 4, 6)), (7, (2, 4, 5, 7)), (24, (2, 4, 22, 24))],
)
def test_taps_ascend_to_the_last_block(depth: int, taps: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert localmim_of(depth).taps == taps


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_loss_is_the_paper_s_sum_over_taps(
    batch_of: Batches, plan_of: Plans, rounds: int
) -> None:
    """Each tap's error, weighted by the mask at its grid, over the sum of that mask."""
    objective, batch, plan = localmim_of(), batch_of(3), plan_of(3, 48, rounds=rounds)
    predictions: list[Tensor] = []
    for head in objective.heads:
        head.register_forward_hook(lambda _m, _i, out: predictions.append(out))  # pyright: ignore[reportArgumentType]
    output = objective(batch, plan, START)
    mask = plan.hidden.float().flatten(0, 1).view(-1, 1, 8, 8)
    losses = []
    for scale, prediction in zip(SCALES, predictions, strict=True):
        cells = hog(batch.images, round(4 / scale)).repeat_interleave(rounds, 0)
        error = (prediction.permute(0, 2, 3, 1) - cells).square().mean(-1)
        at_grid = functional.interpolate(mask, size=error.shape[1:], mode="area")[:, 0]
        if scale < 1:
            assert torch.equal(at_grid * 4, (at_grid * 4).round())
            assert at_grid.sum() * 4 == mask.sum()
        losses.append((error * at_grid).sum() / at_grid.sum())
    torch.testing.assert_close(output.loss_sum / output.loss_count, torch.stack(losses).sum())
    for (total, count), loss in zip(output.terms.values(), losses, strict=True):
        torch.testing.assert_close(total / count, loss.detach())
    assert output.per_patch_loss is not None
    torch.testing.assert_close(output.per_patch_loss.sum(), output.loss_sum.detach())


def test_a_tap_teaches_the_blocks_below_it_alone(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = localmim_of(), batch_of(2), plan_of(2, 48)
    tapped: list[Tensor] = []
    objective.heads[0].register_forward_hook(lambda _m, _i, out: tapped.append(out))  # pyright: ignore[reportArgumentType]
    objective(batch, plan, START)
    tapped[0].square().sum().backward()
    taught = [p.grad is not None for p in (b.attn.qkv.weight for b in objective.backbone.blocks)]  # pyright: ignore
    assert taught == [True, False, False, False]


def test_every_parameter_learns(batch_of: Batches, plan_of: Plans) -> None:
    objective = localmim_of()
    objective(batch_of(2), plan_of(2, 48), START).loss_sum.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_hidden_pixels_change_no_bit_of_the_picture(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = localmim_of(), batch_of(2), plan_of(2, 40)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = Batch(batch.ids, torch.where(pixels[:, None], torch.randn(2, 3, 32, 32), batch.images))
    picture = objective.reconstruct(batch, plan)
    assert picture.shape == (2, 1, 64, 48)
    assert torch.equal(objective.reconstruct(noisy, plan), picture)


def test_neither_pass_waits_for_the_device(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch = localmim_of().to("meta"), batch_of(2)
    on_meta = Batch(batch.ids.to("meta"), batch.images.to("meta"))
    objective(on_meta, plan_of(2, 48).to(torch.device("meta")), START).loss_sum.backward()


def test_it_learns_eight_images(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = localmim_of().train(), batch_of(8, detail=2), plan_of(8, 48)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3, betas=(0.9, 0.95))
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        (output.loss_sum / output.loss_count).backward()
        optimizer.step()
        losses.append(float(output.loss_sum.detach()))
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize(
    ("arguments", "field", "told"),
    [
        ({"depth": 3}, "depth", "it has 3, take 4 or more"),
        ({"taps": (1, 2, 2, 4)}, "taps", "[1, 2, 2, 4] are not four ascending blocks"),
        ({"taps": (0, 1, 2, 4)}, "taps", "four ascending blocks of which 4 is the last"),
        ({"taps": (1, 2, 3, 5)}, "taps", "four ascending blocks of which 4 is the last"),
        ({"patch": 2, "size": 16}, "patch_size", "2 px do not"),
        ({"size": 28}, "image_size", "7 × 7 patches are odd"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict, field: str, told: str) -> None:
    with torch.device("meta"), pytest.raises(ParamsError) as refused:
        localmim_of(**arguments)
    assert refused.value.field == field and told in str(refused.value)
