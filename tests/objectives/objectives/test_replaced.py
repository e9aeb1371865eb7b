"""Mask tokens among the patches that an encoder is given: UM-MAE's and MAGE's masks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.keys import key_of
from mimlab_objectives.masking.dinov2_block import Dinov2Block, Dinov2BlockParams
from mimlab_objectives.masking.mage import Mage, MageParams
from mimlab_objectives.masking.multi_block import MultiBlock, MultiBlockParams
from mimlab_objectives.masking.plan import Masking, MaskPlan, MaskRequest
from mimlab_objectives.masking.uniform_cells import UniformCells, UniformCellsParams
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.mae import Mae, MaeParams
from mimlab_objectives.objectives.simmim import SimMim, SimMimParams
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

START = Progress(step=0, fraction=0.0)
GRID = (8, 8)
MAGE = Mage(MageParams(), GRID)
UNIFORM = UniformCells(UniformCellsParams(), GRID)
Batches = Callable[..., Batch]


def mae_of(*, token: bool | None = True) -> Mae:
    torch.manual_seed(0)
    params = MaeParams(decoder_depth=1, decoder_width=64, decoder_heads=2, encoder_mask_token=token)
    return Mae(params, backbone_of(), PixelTarget(PixelParams(norm="none"), 4, GRID)).eval()


def simmim_of() -> SimMim:
    torch.manual_seed(0)
    target = PixelTarget(PixelParams(norm="none"), 4, GRID)
    return SimMim(SimMimParams(), backbone_of(), target).eval()


def backbone_of() -> VitBackbone:
    params = BackboneParams(
        name="vit_tiny_patch16_224", patch_size=4, embed_dim=64, depth=2, num_heads=2
    )
    return VitBackbone(params, 32)


def plan_of(masking: Masking, count: int = 4) -> MaskPlan:
    return masking.plan(MaskRequest(torch.arange(count), step_key=key_of(3)))


@pytest.mark.parametrize("masking", [MAGE, UNIFORM], ids=["mage", "uniform_cells"])
@pytest.mark.parametrize("build", [mae_of, simmim_of])
def test_covered_patches_are_not_seen(
    build: Callable[[], Objective], masking: Masking, batch_of: Batches
) -> None:
    objective, batch, plan = build(), batch_of(4), plan_of(masking)
    assert plan.replaced is not None and plan.replaced.any() and not plan.replaced.all()
    hidden = plan.hidden[:, 0].unflatten(1, GRID).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = torch.where(hidden[:, None], torch.randn_like(batch.images), batch.images)
    pixels = objective.reconstruct(batch, plan)
    assert torch.equal(objective.reconstruct(Batch(batch.ids, noisy), plan), pixels)
    changed = objective.reconstruct(Batch(batch.ids, batch.images.flip(0)), plan)
    assert not torch.equal(changed, pixels)


@pytest.mark.parametrize("masking", [MAGE, UNIFORM], ids=["mage", "uniform_cells"])
def test_the_encoders_length_is_that_of_the_kept_patches(
    masking: Masking, batch_of: Batches
) -> None:
    mae, lengths = mae_of(), []

    def keep(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        lengths.append(inputs[0].shape[1])

    mae.backbone.blocks[0].register_forward_pre_hook(keep)
    mae(batch_of(4), plan_of(masking), START)
    assert lengths == [1 + (32 if masking is MAGE else 16)]


def test_the_token_learns_and_starts_as_the_others(batch_of: Batches) -> None:
    mae = mae_of()
    assert mae.mask_token is not None
    assert 0.01 < mae.mask_token.std() < 0.03
    output = mae(batch_of(4), plan_of(UNIFORM), START)
    output.loss_sum.backward()
    assert mae.mask_token.grad is not None and mae.mask_token.grad.abs().sum() > 0
    assert output.loss_count == 4 * 48  # the covered ones are not predicted
    decayed, plain = mae.param_groups()
    assert any(p is mae.mask_token for p in plain.params)
    assert not any(p is mae.mask_token for p in decayed.params)


def test_without_a_token_such_a_plan_is_refused(batch_of: Batches) -> None:
    with pytest.raises(ValueError, match="there are none"):
        mae_of(token=None)(batch_of(4), plan_of(UNIFORM), START)
    assert "mask_token" not in dict(mae_of(token=None).named_parameters())


@pytest.mark.parametrize(
    ("build", "masking"),
    [
        (mae_of, UNIFORM),
        (mae_of, MAGE),
        (mae_of, MultiBlock(MultiBlockParams(), GRID)),
        (simmim_of, Dinov2Block(Dinov2BlockParams(), GRID)),
    ],
    ids=["uniform_cells", "mage", "multi_block", "dinov2_block"],
)
def test_eight_images_can_be_learned_by_heart(
    build: Callable[[], Objective], masking: Masking, batch_of: Batches
) -> None:
    objective, batch, plan = build().train(), batch_of(8, detail=2), plan_of(masking, 8)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-3, betas=(0.9, 0.95))
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        loss = output.loss_sum / output.loss_count
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
