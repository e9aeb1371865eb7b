"""Losses in frequency space."""

import math

import torch

from mimlab_objectives.objectives.spectrum import (
    focal_frequency_losses,
    spectrum_difference,
    spectrum_distance,
)


def images(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, 16, 24, generator=torch.Generator().manual_seed(seed))


def test_spectral_energy_is_pixel_energy() -> None:
    first, second = images(4, 0), images(4, 1)
    energy = spectrum_difference(first, second).square().sum((1, 2, 3, 4))
    torch.testing.assert_close(energy, (first - second).square().sum((1, 2, 3)))


def test_equal_images_are_1e_6_apart_and_their_gradient_is_finite() -> None:
    first = images(4, 0).requires_grad_()
    distance = spectrum_distance(first, first.detach())
    torch.testing.assert_close(distance, torch.full_like(distance, 1e-6))
    distance.sum().backward()
    assert first.grad is not None and torch.isfinite(first.grad).all()


def test_a_shift_of_the_level_is_one_frequency() -> None:
    """c everywhere is c · √(height · width) at frequency 0."""
    distance = spectrum_distance(images(1, 0) + 0.5, images(1, 0))
    assert abs(float(distance[0, 0, 0, 0]) - 0.5 * math.sqrt(16 * 24)) < 1e-4
    assert distance[0, 0].flatten()[1:].max() < 1e-4


def test_focal_losses_of_one_frequency_have_weight_1() -> None:
    """The only frequency that is off has the largest weight: the loss is its energy's mean."""
    losses = focal_frequency_losses(images(2, 0) + 0.5, images(2, 0))
    torch.testing.assert_close(losses, torch.full((2,), 0.25), rtol=1e-3, atol=0)


def test_focal_losses_weigh_frequencies_by_log_1_plus_distance() -> None:
    first, second = images(3, 0).requires_grad_(), images(3, 1)
    amplitude = torch.fft.fft2(first.detach() - second, norm="ortho").abs()
    weight = (1 + amplitude).log()
    weight = weight / weight.amax((1, 2, 3), keepdim=True)
    assert weight.max() == 1 and weight.min() >= 0
    losses = focal_frequency_losses(first, second)
    torch.testing.assert_close(losses, (weight * amplitude**2).mean((1, 2, 3)))
    # the gradient is that of constant weights
    losses.sum().backward()
    again = first.detach().clone().requires_grad_()
    (weight * torch.fft.fft2(again - second, norm="ortho").abs() ** 2).mean(
        (1, 2, 3)
    ).sum().backward()
    torch.testing.assert_close(first.grad, again.grad)


def test_a_perfect_prediction_costs_nothing() -> None:
    assert (focal_frequency_losses(images(2, 0), images(2, 0)) == 0).all()
