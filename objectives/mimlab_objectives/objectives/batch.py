"""What an objective is given of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images of one micro-batch on the training device, normalised."""

    ids: Int[Tensor, " batch"]
    images: Float[Tensor, "batch 3 height width"]
    labels: Int[Tensor, " batch"] | None = None
    """int64, −1 where a sample has none; for objectives that say so (`uses_labels`)."""
    maps: Float[Tensor, "batch tokens"] | None = None
    """Mean of a sidecar's map in each patch, under the same crop and flip; None without one."""
    stored: Int[Tensor, "batch tokens"] | Float[Tensor, "batch tokens feature_dim"] | None = None
    """Codes (int64) or features (float32) of each patch of this very view, from a token store;
    None without one."""

    def __len__(self) -> int:
        return self.images.shape[0]

    def part(self, start: int, stop: int) -> Batch:
        """Images `start` to `stop`, e.g. a micro-batch."""
        return Batch(
            self.ids[start:stop],
            self.images[start:stop],
            None if self.labels is None else self.labels[start:stop],
            None if self.maps is None else self.maps[start:stop],
            None if self.stored is None else self.stored[start:stop],
        )
