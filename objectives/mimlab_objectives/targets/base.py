"""The contract between a target and an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.registry import Registry

TargetKind = Literal["pixels", "vectors", "classes", "latent"]
"""What is predicted: a patch's pixels, other vectors, the class of each patch, or what the
objective makes itself: features of its own teacher, several targets at once, labels."""


class Target(nn.Module, ABC):
    """What is predicted for each patch. Constructed as `Target(params, patch_size, grid)`.

    Raises ParamsError for parameters that cannot hold there. What it has learned before training
    (`fit`) is a buffer, so that it is saved with the objective.
    """

    kind: ClassVar[TargetKind]
    fit_images: int = 0
    """Images that it has to see before the first step; `fit` is called with as many."""
    dim: int
    """Numbers to predict for each patch: the length of a vector, or how many classes there are."""

    def __init__(self, params: Any, patch_size: int, grid: Grid) -> None:  # noqa: ARG002
        super().__init__()
        self.patch_size = patch_size
        self.grid = grid

    def fit(self, images: Float[Tensor, "images 3 height width"]) -> None:
        """Learn what has to be known before training, from the same images in every trial."""
        raise NotImplementedError(f"{type(self).__name__} asked for no images")

    def of(
        self, batch: Batch
    ) -> Float[Tensor, "batch tokens target_dim"] | Int[Tensor, "batch tokens"]:
        """Targets of every patch of a batch: computed, unless they were stored beforehand."""
        return self.compute(batch.images)

    @abstractmethod
    def compute(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens target_dim"] | Int[Tensor, "batch tokens"]:
        """Targets of every patch of normalised images, without gradient: float32 vectors, or
        classes (int64)."""

    @abstractmethod
    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """A picture of predictions, as normalised pixel patches, for boards; `prediction` holds
        logits where the target is classes."""


targets: Registry[Target] = Registry("target")
