from __future__ import annotations

import pytest
import torch
from torch import nn

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import Signal
from mimlab_objectives.teachers.latents import smooth_l1, spread, standardise, whiten
from mimlab_objectives.teachers.signals import encoder_signals


def test_whitened_tokens_have_mean_0_and_variance_1() -> None:
    tokens = whiten(torch.randn(2, 5, 64) * 7 + 3)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(tokens.var(-1, correction=0), torch.ones(2, 5), rtol=1e-4, atol=0)


def test_standardised_tokens_have_unbiased_variance_1() -> None:
    tokens = standardise(torch.randn(2, 5, 64) * 7 + 3)
    torch.testing.assert_close(tokens.var(-1, correction=1), torch.ones(2, 5), rtol=1e-4, atol=0)
    # so that predicting zero costs (D − 1) / D
    torch.testing.assert_close(
        tokens.square().mean(-1), torch.full((2, 5), 63 / 64), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    ("error", "beta", "cost"), [(1.0, 2.0, 0.25), (3.0, 2.0, 2.0), (0.5, 1.0, 0.125)]
)
def test_smooth_l1_in_closed_form(error: float, beta: float, cost: float) -> None:
    given = smooth_l1(torch.full((1, 4), error), torch.zeros(1, 4), beta)
    torch.testing.assert_close(given, torch.tensor([cost]))


def test_one_vector_for_everything_is_a_collapse() -> None:
    found = spread(torch.ones(3, 5, 8), torch.ones(3, 2, 8))
    assert float(found["target_std"]) == 0
    assert float(found["cosine_within"]) == pytest.approx(1, rel=1e-5)
    assert float(found["cosine_across"]) == pytest.approx(1, rel=1e-5)


def test_cosines_are_those_of_all_pairs() -> None:
    torch.manual_seed(0)
    target = torch.randn(3, 5, 8) + 1
    unit = nn.functional.normalize(target, dim=-1).flatten(0, 1)
    cosines, image = unit @ unit.T, torch.arange(15) // 5
    same = image[:, None] == image
    within = cosines[same & ~torch.eye(15, dtype=torch.bool)].mean()
    found = spread(target, target)
    torch.testing.assert_close(found["cosine_within"], within)
    torch.testing.assert_close(found["cosine_across"], cosines[~same].mean())
    torch.testing.assert_close(found["variance_ratio"], torch.tensor(1.0))
    torch.testing.assert_close(
        found["target_std"], target.flatten(0, 1).std(0, correction=0).mean()
    )


def test_signals_are_the_same_twice_and_leave_the_encoder_training() -> None:
    params = BackboneParams(
        name="vit_tiny_patch16_224", patch_size=4, embed_dim=32, depth=2, num_heads=2, drop_path=0.5
    )
    encoder, images = VitBackbone(params, 32).train(), torch.randn(4, 3, 32, 32)
    names: frozenset[Signal] = frozenset({"features", "teacher_attention"})
    once = encoder_signals(names, images, encoder=encoder, teacher=encoder)
    twice = encoder_signals(names, images, encoder=encoder, teacher=encoder)
    assert once.keys() == names and encoder.training
    assert all(torch.equal(once[name], twice[name]) for name in names)
    assert once["features"].shape == (4, 64, 32) and once["teacher_attention"].shape == (4, 64)
    assert not once["features"].requires_grad and not once["teacher_attention"].requires_grad
