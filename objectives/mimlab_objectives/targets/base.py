"""The contract between a target and an objective."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.registry import Registry


@runtime_checkable
class Target(Protocol):
    """What is predicted for each patch. Constructed as `Target(params, patch_size)`."""

    def __init__(self, params: Any, patch_size: int) -> None: ...

    dim: int
    """Numbers to predict for each patch."""

    def compute(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens target_dim"]:
        """float32 targets of normalised images, without gradient, for every patch."""
        ...

    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """Predictions as normalised pixel patches, for boards."""
        ...


targets: Registry[Target] = Registry("target")
