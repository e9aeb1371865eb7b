"""Images without some of their frequencies."""

import torch

from mimlab_objectives.images import from_unit, to_unit
from mimlab_objectives.masking.frequency import Frequency, FrequencyParams, SpectrumCorruption
from mimlab_objectives.masking.plan import MaskRequest

LOW, HIGH = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)


def test_the_official_disc_has_793_frequencies() -> None:
    images = torch.zeros(4, 3, 224, 224)
    assert (SpectrumCorruption(LOW, 16.0).kept(images).sum((1, 2, 3)) == 793).all()
    assert (SpectrumCorruption(HIGH, 16.0).kept(images).sum((1, 2, 3)) == 224**2 - 793).all()


def test_low_and_high_add_up_to_the_image() -> None:
    images = torch.rand(4, 3, 32, 48)
    low = SpectrumCorruption(LOW, 5.0).filtered(images)
    high = SpectrumCorruption(HIGH, 5.0).filtered(images)
    torch.testing.assert_close(low + high, images, rtol=0, atol=1e-5)
    # the mean is the frequency 0
    torch.testing.assert_close(low.mean((2, 3)), images.mean((2, 3)))
    torch.testing.assert_close(high.mean((2, 3)), torch.zeros(4, 3), rtol=0, atol=1e-6)


def test_nothing_is_left_outside_the_kept_frequencies() -> None:
    corruption = SpectrumCorruption(torch.tensor([True, False, True, False]), 5.0)
    images = torch.rand(4, 3, 32, 32)
    spectrum = torch.fft.fft2(corruption.filtered(images), norm="ortho")
    outside = spectrum.abs().masked_fill(corruption.kept(images), 0)
    assert outside.max() < 1e-5


def test_waves_pass_or_not_by_their_frequency() -> None:
    place = torch.arange(32) / 32
    wave = 0.5 + 0.3 * torch.cos(2 * torch.pi * 6 * place).expand(1, 3, 32, 32)
    low = torch.ones(1, dtype=torch.bool)
    passed = SpectrumCorruption(low, 6.5).filtered(wave)
    torch.testing.assert_close(passed, wave, rtol=0, atol=1e-5)
    stopped = SpectrumCorruption(low, 6.0).filtered(wave)  # the radius itself is outside
    torch.testing.assert_close(stopped, torch.full_like(wave, 0.5), rtol=0, atol=1e-5)


def test_degraded_images_are_clamped_and_normalised() -> None:
    images = from_unit((torch.rand(4, 3, 32, 32) > 0.5).float())
    corruption = SpectrumCorruption(LOW, 8.0)
    degraded = to_unit(corruption.apply(images))
    assert degraded.min() >= -1e-6 and degraded.max() <= 1 + 1e-6
    expected = corruption.filtered(to_unit(images)).clamp(0, 1)
    torch.testing.assert_close(degraded, expected, rtol=0, atol=1e-5)


def test_a_coin_for_each_image() -> None:
    masking = Frequency(FrequencyParams(low_probability=0.3), (14, 14))
    plan = masking.plan(MaskRequest(torch.arange(2000)))
    assert isinstance(plan.corruption, SpectrumCorruption)
    assert abs(plan.corruption.low.float().mean() - 0.3) < 0.04
    assert not plan.hidden.any() and plan.predicted.all()
