"""How views are cropped and mirrored, as a study says it.

Kept free of torch, because the processes that only read import it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mimlab_objectives.registry import ParamsError


class AugmentConfig(BaseModel):
    """Crop and flip of a view."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    crop_scale: tuple[float, float] = (0.2, 1.0)
    """Smallest and largest share of the image's area."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width ÷ height; the logarithm is uniform."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of mirroring left and right."""

    @model_validator(mode="after")
    def _ordered(self) -> AugmentConfig:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ParamsError("crop_scale", f"[{low:g}, {high:g}] must be 0 < low ≤ high ≤ 1")
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise ParamsError("crop_ratio", f"[{low:g}, {high:g}] must be 0 < low ≤ high")
        return self
