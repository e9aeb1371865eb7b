"""Masked frequency modeling: images without their high, or without their low frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from mimlab_objectives.images import from_unit, to_unit
from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.corruption import ImageCorruption
from mimlab_objectives.masking.plan import (
    Application,
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    maskings,
)
from mimlab_objectives.masking.whole import WholeCorruption, plan_of_corruption
from mimlab_objectives.registry import Params


@dataclass(frozen=True)
class SpectrumCorruption(ImageCorruption, WholeCorruption):
    """Which frequencies of each image are kept."""

    low: Bool[Tensor, " batch"]
    """True where the low ones are kept, False where the others are."""
    radius: float
    """Frequencies below it, in cycles per image, are low."""

    def kept(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """Kept bins of the spectra, in the order of `torch.fft.fft2`."""
        height, width = images.shape[2:]
        rows, columns = (
            torch.fft.fftfreq(length, 1 / length, device=images.device)
            for length in (height, width)
        )
        disc = rows[:, None] ** 2 + columns**2 < self.radius**2
        return (disc == self.low[:, None, None])[:, None]

    def filtered(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The kept part of real images, a linear function of them; float32."""
        spectrum = torch.fft.fft2(images.float()) * self.kept(images)
        return torch.fft.ifft2(spectrum).real

    def apply(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The degraded images: filtered in [0, 1], clamped there, and normalised again."""
        return from_unit(self.filtered(to_unit(images)).clamp(0, 1))


class FrequencyParams(Params):
    radius: float = Field(default=16.0, gt=0)
    """Frequencies below this many cycles per image are low; 16 is for 224 px."""
    low_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that an image keeps its low frequencies, otherwise it keeps the high ones."""


@maskings.register("frequency", params=FrequencyParams, paper="Xie et al. 2022, arXiv:2206.07706")
class Frequency(Masking):
    """Removes the high or the low frequencies of each image; no patch is hidden.

    As Jiahao000/MFM, data/data_mfm.py, without the optional outer radius.
    """

    application: ClassVar[Application] = "spectrum"

    def __init__(self, params: FrequencyParams, grid: Grid) -> None:
        self.params, self.grid = params, grid
        self.num_hidden = 0

    def plan(self, request: MaskRequest) -> MaskPlan:
        """One coin for each image."""
        low = uniform(request.keys, 1)[:, 0] < self.params.low_probability
        corruption = SpectrumCorruption(low, self.params.radius)
        return plan_of_corruption(corruption, self.grid, request.keys)
