"""Losses of images in frequency space; spectra are orthonormal, so that energies are kept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_EPSILON = 1e-12  # Jiahao000/MFM, models/frequency_loss.py


def spectrum_difference(
    first: Float[Tensor, "batch 3 height width"], second: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 3 height width 2"]:
    """Real and imaginary part of the difference of two images' spectra, in float32."""
    spectrum = torch.fft.fft2(first.float() - second.float(), norm="ortho")
    return torch.view_as_real(spectrum)


def spectrum_distance(
    first: Float[Tensor, "batch 3 height width"], second: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 3 height width"]:
    """Distance of the two images at each frequency, 1e-6 where they are equal.

    Jiahao000/MFM, models/frequency_loss.py, with its exponent 1; 1e-12 under the root keeps the
    gradient finite.
    """
    difference = spectrum_difference(first, second)
    return (difference.square().sum(-1) + _EPSILON).sqrt()


def focal_frequency_losses(
    prediction: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, " batch"]:
    """Squared distance of the spectra, weighted by how far off each frequency is; of each image.

    The weight is log(1 + distance) ÷ its maximum in the image, without gradient
    (Westlake-AI/openmixup, models/heads/mim_head.py; Jiang et al. 2021, arXiv:2012.12821).
    """
    energy = spectrum_difference(prediction, target).square().sum(-1)
    weight = energy.detach().sqrt().log1p()
    most = weight.amax((1, 2, 3), keepdim=True)
    return (weight / most.clamp(min=_EPSILON) * energy).mean((1, 2, 3))
