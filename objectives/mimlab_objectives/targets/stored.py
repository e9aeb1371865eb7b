"""Targets that a token store holds, computed beforehand, instead of at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.tokenizers.base import EncodedKind


class StoredParams(Params):
    """What a token store gives."""

    label: str
    """What made it, in short, for people."""
    width: int = Field(ge=1)
    """How many codes there are, or the length of a feature."""


class StorableParams(Params):
    """Parameters of a target that is computed, or read from a token store."""

    stored_kind: ClassVar[EncodedKind]
    """What a store has to hold."""
    computed_by: ClassVar[tuple[str, ...]]
    """Parameters that have no effect where nothing is computed."""

    stored: StoredParams | None = None
    """What a token store gives; found when a study is submitted that names one, `data.tokens`."""

    def reading(self, stored: StoredParams) -> StorableParams:
        """The same, read from a store. Raises ParamsError for what would then have no effect."""
        if self.stored is not None:
            raise ParamsError(
                "stored", "is found in the store that data.tokens names: leave it out"
            )
        given = [name for name in self.computed_by if name in self.model_fields_set]
        if given:
            raise ParamsError(
                given[0],
                f"has no effect: data.tokens names a store of {stored.label}, which is read and "
                "not computed; leave it out",
            )
        return self.model_copy(update={"stored": stored})


class StorableTarget(ABC):
    """A target whose pictures on boards have to be learned from what a store knows."""

    @abstractmethod
    def learn_pictures(self, known: Float[Tensor, "rows numbers"]) -> None:
        """Of codes: the mean normalised patch of each. Of features: some of them."""


def stored_of(
    batch: Batch,
) -> Int[Tensor, "batch tokens"] | Float[Tensor, "batch tokens feature_dim"]:
    """What the store holds of a batch. Raises ValueError where none was read with it."""
    if batch.stored is None:
        raise ValueError("this target is read from a token store, and the batch was read without")
    return batch.stored


def resized_patches(
    patches: Float[Tensor, "codes numbers"], patch_size: int
) -> Float[Tensor, "codes patch_dim"]:
    """Square patches, their numbers ordered (row, column, channel), with another side."""
    side = round((patches.shape[1] / 3) ** 0.5)
    images = patches.float().unflatten(1, (side, side, 3)).permute(0, 3, 1, 2)
    smaller = patch_size < side
    sized = functional.interpolate(
        images, (patch_size, patch_size), mode="area" if smaller else "nearest"
    )
    return sized.permute(0, 2, 3, 1).flatten(1).to(torch.float32)
