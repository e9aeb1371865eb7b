from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Progress, objectives
from mimlab_objectives.objectives.supervised_mim import SupervisedMim, SupervisedMimParams
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

START = Progress(step=0, fraction=0.0)
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]


def supervised_of(patch_weight: float = 1.0) -> SupervisedMim:
    torch.manual_seed(0)
    shape = {
        "name": "vit_tiny_patch16_224",
        "patch_size": 4,
        "embed_dim": 32,
        "num_heads": 2,
        "depth": 2,
    }
    backbone = VitBackbone(BackboneParams.model_validate(shape), 32)
    params = {"num_classes": 4, "decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2}
    target = PixelTarget(PixelParams(), 4, backbone.grid)
    return SupervisedMim(
        SupervisedMimParams.model_validate(params | {"patch_weight": patch_weight}),
        backbone,
        target,
    ).eval()


def labelled(batch: Batch) -> Batch:
    return replace(batch, labels=batch.ids % 4)


def test_it_is_registered_and_says_that_it_is_approximate() -> None:
    assert objectives["supervised_mim"].summary.startswith("Approximate")
    assert SupervisedMim.uses_labels


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_loss_is_a_mean_over_images_and_a_mean_over_patches(
    batch_of: Batches, plan_of: Plans, weight: float
) -> None:
    objective = supervised_of(weight)
    batch, plan = labelled(batch_of(4)), plan_of(4, 48)
    output = objective(batch, plan, START)
    torch.nn.init.zeros_(objective.head.weight)
    label, patch = (total / count for total, count in output.terms.values())
    loss = (output.loss_sum / output.loss_count).detach()
    torch.testing.assert_close(loss, label + weight * patch)
    uniform = objective(batch, plan, START).terms["label"]
    torch.testing.assert_close(uniform[0] / uniform[1], torch.tensor(4.0).log())


def test_micro_batches_add_up(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = supervised_of(), labelled(batch_of(6)), plan_of(6, 32, rounds=2)
    whole = objective(batch, plan, START)
    parts = [objective(batch.part(a, b), plan.part(a, b), START) for a, b in ((0, 2), (2, 6))]
    torch.testing.assert_close(parts[0].loss_sum + parts[1].loss_sum, whole.loss_sum)
    assert parts[0].loss_count + parts[1].loss_count == whole.loss_count


def test_hidden_pixels_change_no_bit_of_the_prediction(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = supervised_of(), batch_of(2), plan_of(2, 40)
    objective.target.norm = "none"  # type: ignore[assignment]
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = Batch(batch.ids, torch.where(pixels[:, None], torch.randn(2, 3, 32, 32), batch.images))
    assert torch.equal(objective.reconstruct(noisy, plan), objective.reconstruct(batch, plan))


def test_every_parameter_learns_and_so_do_eight_images(batch_of: Batches, plan_of: Plans) -> None:
    objective = supervised_of().train()
    batch, plan = labelled(batch_of(8, detail=2)), plan_of(8, 48)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3, betas=(0.9, 0.95))
    output, losses = objective(batch, plan, START), []
    for _ in range(100):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        (output.loss_sum / output.loss_count).backward()
        for name, parameter in objective.named_parameters():
            assert parameter.grad is not None or not parameter.requires_grad, name
        optimizer.step()
        losses.append(float(output.loss_sum.detach()))
    assert losses[-1] < losses[0] / 3
    assert output.diagnostics["accuracy"] == 1
