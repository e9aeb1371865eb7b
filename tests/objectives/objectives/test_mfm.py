"""Masked frequency modeling: closed forms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mimlab_objectives.images import from_unit
from mimlab_objectives.masking.frequency import Frequency, FrequencyParams, SpectrumCorruption
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.mfm import Mfm
from mimlab_objectives.targets.pixels import patchify

START = Progress(step=0, fraction=0.0)


def plan_of(count: int, low_probability: float = 0.5) -> MaskPlan:
    params = FrequencyParams(radius=4.0, low_probability=low_probability)
    return Frequency(params, (8, 8)).plan(MaskRequest(torch.arange(count)))


def constant(build_named: Callable[..., Objective], patch: torch.Tensor) -> Mfm:
    """Predicts one patch everywhere."""
    objective = build_named("mfm")
    assert isinstance(objective, Mfm)
    nn.init.zeros_(objective.head.linear.weight)
    with torch.no_grad():
        objective.head.linear.bias.copy_(patch)
    return objective


def test_a_perfect_prediction_costs_1e_6(build_named: Callable[..., Objective]) -> None:
    images = torch.randn(1, 3, 4, 4).repeat(4, 1, 8, 8)
    objective = constant(build_named, patchify(images, 4)[0, 0])
    output = objective(Batch(torch.arange(4), images), plan_of(4), START)
    assert float((output.loss_sum / output.loss_count).detach()) < 2e-6


def test_removed_frequencies_are_counted_in_every_channel(
    build_named: Callable[..., Objective], batch_of: Callable[..., Batch]
) -> None:
    plan, batch = plan_of(6), batch_of(6)
    assert isinstance(plan.corruption, SpectrumCorruption)
    output = constant(build_named, torch.zeros(48))(batch, plan, START)
    assert output.loss_count == 3 * (~plan.corruption.kept(batch.images)).sum()
    spectrum = torch.fft.fft2(batch.images, norm="ortho").abs()
    removed = (~plan.corruption.kept(batch.images)).expand_as(spectrum)
    torch.testing.assert_close(output.loss_sum, spectrum[removed].sum(), rtol=1e-4, atol=0)


def test_kept_frequencies_do_not_count(build_named: Callable[..., Objective]) -> None:
    """Where low ones are kept, the level of the prediction is free."""
    images = torch.randn(4, 3, 32, 32)
    losses = []
    for level in (0.0, 0.7):
        objective = constant(build_named, torch.full((48,), level))
        losses.append(objective(Batch(torch.arange(4), images), plan_of(4, 1.0), START).loss_sum)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)


def test_removed_frequencies_are_not_seen(build_named: Callable[..., Objective]) -> None:
    plan = plan_of(4)
    assert isinstance(plan.corruption, SpectrumCorruption)
    unit = 0.4 + 0.2 * torch.rand(4, 3, 32, 32)
    noise = 0.1 * torch.rand(4, 3, 32, 32)
    other = unit + noise - plan.corruption.filtered(noise)
    objective, ids = build_named("mfm"), torch.arange(4)
    seen = [objective.reconstruct(Batch(ids, from_unit(image)), plan) for image in (unit, other)]
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)
