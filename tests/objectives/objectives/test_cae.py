from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Progress
from mimlab_objectives.objectives.cae import Cae, CaeParams
from mimlab_objectives.predictors.places import hidden_ids
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

START = Progress(step=0, fraction=0.0)
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]


class Brightness(Target):
    """Ten classes of brightness."""

    kind: ClassVar[TargetKind] = "classes"
    dim = 10

    def compute(self, images: Tensor) -> Tensor:
        means = images.mean(1).unflatten(2, (8, 4)).unflatten(1, (8, 4)).mean((2, 4)).flatten(1)
        return (means.sigmoid() * 10).long().clamp(max=9)

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        return prediction.argmax(-1, keepdim=True).float().expand(-1, -1, -1, 48)


def cae_of(target: Target | None = None, **params: Any) -> Cae:
    torch.manual_seed(0)
    backbone = BackboneParams(
        name="vit_tiny_patch16_224", patch_size=4, embed_dim=32, depth=2, num_heads=2
    )
    given = CaeParams.model_validate({"regressor_depth": 1, "decoder_depth": 1, **params})
    target = target or PixelTarget(PixelParams(), 4, (8, 8))
    return Cae(given, VitBackbone(backbone, 32), target).eval()


def test_equal_logits_cost_the_log_of_the_classes(batch_of: Batches, plan_of: Plans) -> None:
    cae = cae_of(Brightness(None, 4, (8, 8)))
    with torch.no_grad():
        for parameter in cae.decoder[-1].parameters():
            parameter.zero_()
    output = cae(batch_of(2), plan_of(2, 32), START)
    total, count = output.terms["prediction"]
    assert float(total / count) == pytest.approx(math.log(10), rel=1e-5)


def test_the_loss_is_the_prediction_plus_twice_the_alignment(
    batch_of: Batches, plan_of: Plans
) -> None:
    output = cae_of()(batch_of(3), plan_of(3, 32), START)
    (prediction, count), (alignment, same) = (output.terms[name] for name in Cae.terms)
    assert count == same == output.loss_count == 3 * 32
    torch.testing.assert_close(output.loss_sum.detach(), prediction + 2 * alignment)


def test_a_regressor_that_hits_the_latents_has_no_alignment_to_pay(
    batch_of: Batches, plan_of: Plans
) -> None:
    cae, batch, plan = cae_of(), batch_of(2), plan_of(2, 32)
    latent = cae.teach(batch.images, plan, hidden_ids(plan))
    cae.regressor.register_forward_hook(lambda *_: latent)
    assert cae(batch, plan, START).terms["alignment"][0] == 0


def test_latents_are_the_encoders_own_of_hidden_patches_alone(
    batch_of: Batches, plan_of: Plans
) -> None:
    cae, batch, plan = cae_of().train(), batch_of(2), plan_of(2, 32)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = torch.where(pixels[:, None], batch.images, 3.0)
    ids = hidden_ids(plan)
    latent = cae.teach(batch.images, plan, ids)
    assert not latent.requires_grad and cae.backbone.training
    assert torch.equal(cae.teach(noisy, plan, ids), latent)
    with torch.no_grad():
        cae.backbone.vit.patch_embed.proj.weight.add_(1)
    assert not torch.equal(cae.teach(batch.images, plan, ids), latent)


def test_without_alignment_the_decoder_alone_trains(batch_of: Batches, plan_of: Plans) -> None:
    """Pixels are decoded from regressed features only: the encoder learns through them."""
    cae = cae_of(alignment=0.0)
    cae(batch_of(2), plan_of(2, 32), START).loss_sum.backward()
    gradient = cae.backbone.vit.patch_embed.proj.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0
