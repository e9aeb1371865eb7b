"""Images of which some pixels are replaced by something else."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.masking.corruption import ImageCorruption


@dataclass(frozen=True)
class PixelCorruption(ImageCorruption):
    """What every masking with `application = "pixels"` puts into its plan."""

    @abstractmethod
    def fill(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 _height _width"]:
        """What they are replaced by, pixel by pixel or one colour for all."""

    def apply(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The degraded images; pixels that are not changed stay bit for bit."""
        return torch.where(self.changed(images), self.fill(images), images)
