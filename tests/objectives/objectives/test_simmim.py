from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import plan_of_hidden
from mimlab_objectives.objectives.base import Batch, Progress
from mimlab_objectives.objectives.simmim import SimMim, SimMimParams
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget, patchify

START = Progress(step=0, fraction=0.0)


def simmim_of(*, dim: int = 32, depth: int = 2, norm: str = "none") -> SimMim:
    torch.manual_seed(0)
    params = BackboneParams(
        name="vit_tiny_patch16_224", patch_size=4, embed_dim=dim, depth=depth, num_heads=2
    )
    target = PixelTarget(PixelParams.model_validate({"norm": norm}), 4, (8, 8))
    return SimMim(SimMimParams(), VitBackbone(params, 32), target).eval()


@pytest.mark.parametrize("offset", [-2.0, 0.0, 0.25])
def test_a_prediction_that_is_off_by_c_costs_c(
    plan_of: Callable[..., MaskPlan], offset: float
) -> None:
    """A head of zeros predicts its bias: here the patch that every image repeats, plus c."""
    simmim = simmim_of()
    images = torch.randn(1, 3, 4, 4).repeat(2, 1, 8, 8)
    with torch.no_grad():
        simmim.head.weight.zero_()
        simmim.head.bias.copy_(patchify(images, 4)[0, 0] + offset)
    output = simmim(Batch(torch.arange(2), images), plan_of(2, 40), START)
    loss = (output.loss_sum / output.loss_count).detach()
    assert float(loss) == pytest.approx(abs(offset), rel=1e-6)


def test_images_may_hide_different_numbers_of_patches(batch_of: Callable[..., Batch]) -> None:
    hidden = torch.arange(64) < torch.tensor([[10], [50]])
    simmim, batch = simmim_of(), batch_of(2)
    plan = plan_of_hidden(hidden, (8, 8), torch.arange(2), num_hidden=None)
    output = simmim(batch, plan, START)
    assert output.loss_count == 60
    # the mean runs over the patches of the batch, not over per-image means
    alone = [simmim(batch.part(i, i + 1), plan.part(i, i + 1), START) for i in range(2)]
    total = alone[0].loss_sum + alone[1].loss_sum
    torch.testing.assert_close(output.loss_sum, total, rtol=1e-5, atol=0)


def test_initial_weights_are_the_papers() -> None:
    weights = simmim_of(dim=96, depth=4).state_dict()
    for name in ("backbone.vit.patch_embed.proj.weight", "backbone.vit.blocks.3.attn.qkv.weight"):
        assert 0.018 < weights[name].abs().max() <= 0.02  # cut at one deviation
    assert 0.015 < weights["mask_token"].abs().max() <= 0.02
    for index in range(4):
        peak = 0.02 / (2 * (index + 1)) ** 0.5
        for output in ("attn.proj", "mlp.fc2"):
            name = f"backbone.vit.blocks.{index}.{output}"
            assert 0.9 * peak < weights[f"{name}.weight"].abs().max() <= peak * (1 + 1e-6)
            assert not weights[f"{name}.bias"].any()


def test_reconstruct_returns_the_prediction_as_pixels(
    plan_of: Callable[..., MaskPlan], batch_of: Callable[..., Batch]
) -> None:
    simmim, batch, plan = simmim_of(norm="patch"), batch_of(2), plan_of(2, 40, rounds=2)
    with torch.no_grad():
        simmim.head.weight.zero_()
        simmim.head.bias.zero_()
    means = patchify(batch.images, 4).mean(-1, keepdim=True).expand(-1, -1, 48)
    torch.testing.assert_close(simmim.reconstruct(batch, plan)[:, 1], means)
