"""What a plan may do to the input instead of hiding patches of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Corruption(ABC):
    """How each image of a batch is degraded; every tensor's first dimension is the batch.

    A subclass adds its tensors and the method by which an objective applies them.
    """

    @abstractmethod
    def picture(
        self, images: Float[Tensor, "batch 3 height width"], patch_size: int
    ) -> Float[Tensor, "batch 3 height width"]:
        """What the encoder gets of normalised images, to be looked at."""

    @abstractmethod
    def changed(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """Which pixels are degraded, in images of this size."""

    def tensors(self) -> list[Tensor]:
        """Every tensor of it."""
        values = [getattr(self, field.name) for field in fields(self)]
        return [value for value in values if isinstance(value, Tensor)]

    def each(self, change: Callable[[Tensor], Tensor]) -> Corruption:
        """The same with every tensor changed."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: change(v) for k, v in values.items() if isinstance(v, Tensor)})


class ImageCorruption(Corruption):
    """What is done to images themselves, before they become tokens."""

    @abstractmethod
    def apply(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The degraded images."""

    def picture(
        self,
        images: Float[Tensor, "batch 3 height width"],
        patch_size: int,  # noqa: ARG002
    ) -> Float[Tensor, "batch 3 height width"]:
        """They themselves."""
        return self.apply(images)
