from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.latent_mim import LatentMim, LatentMimParams, patch_contrast
from mimlab_objectives.predictors.places import hidden_ids

START = Progress(step=0, fraction=0.0)
PARAMS = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2, "head_width": 64}
Tiny = Callable[..., Objective]


def latent_mim_of(tiny: Tiny) -> LatentMim:
    objective = tiny("latent_mim", PARAMS)
    assert isinstance(objective, LatentMim)
    return objective


def test_random_features_cost_2_tau_log_patches() -> None:
    torch.manual_seed(0)
    losses = patch_contrast(torch.randn(4, 176, 4096), torch.randn(4, 176, 4096), 0.2)
    assert float(losses.mean()) == pytest.approx(0.4 * math.log(176), rel=2e-3)


def test_found_patches_cost_nothing_at_a_low_temperature() -> None:
    torch.manual_seed(0)
    prediction = torch.randn(2, 16, 256)
    target = prediction - prediction.mean(1, keepdim=True)
    assert patch_contrast(prediction, target, 0.01).max() < 1e-4
    shifted = prediction * 3 + 5  # scale and shift of channels do not matter
    one, two = patch_contrast(prediction, target, 0.2), patch_contrast(shifted, target, 0.2)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_one_patch_is_always_found_and_pulls_on_nothing() -> None:
    prediction = torch.randn(2, 1, 8, requires_grad=True)
    losses = patch_contrast(prediction, torch.randn(2, 1, 8), 0.2)
    losses.sum().backward()
    assert not losses.any() and prediction.grad is not None and not prediction.grad.any()


def test_the_teacher_sees_hidden_patches_alone(
    tiny: Tiny, batch_of: Callable[..., Batch], plan_of: Callable[..., MaskPlan]
) -> None:
    latent_mim, batch, plan = latent_mim_of(tiny), batch_of(2), plan_of(2, 48)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = torch.where(pixels[:, None], batch.images, 3.0)
    ids = hidden_ids(plan)
    target = latent_mim.teach(batch.images, plan, ids)
    assert target.shape == (2, 48, 64) and not target.requires_grad
    assert torch.equal(latent_mim.teach(noisy, plan, ids), target)


def test_encoder_and_head_are_both_followed(tiny: Tiny) -> None:
    latent_mim = latent_mim_of(tiny)
    weight = latent_mim.head[0].weight
    own = latent_mim.teacher_head.module[0].weight
    assert isinstance(weight, torch.Tensor) and isinstance(own, torch.Tensor)
    old = own.clone()
    with torch.no_grad():
        weight.add_(1)
    latent_mim.after_step(Progress(0, 0.0))
    torch.testing.assert_close(own, old + 0.01)
    latent_mim.after_step(Progress(9, 1.0))
    torch.testing.assert_close(own, old + 0.01)


def test_the_defaults_are_those_of_the_paper() -> None:
    params = LatentMimParams()
    assert (params.decoder_depth, params.decoder_width, params.decoder_heads) == (3, 512, 16)
    assert (params.head_width, params.temperature, params.momentum) == (4096, 0.2, 0.99)
