"""What the patches of each code look like on average."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mimlab_objectives.targets.pixels import patchify
from mimlab_objectives.tokenizers.nearest import sum_by_code


class PatchMeans:
    """The mean normalised patch of each code, over all batches that were added.

    Images may have another size than the tokenizer reads: `patch_size` is theirs. Sums are float64,
    so that the order of batches changes no mean.
    """

    def __init__(
        self, vocabulary: int, patch_size: int, *, device: torch.device | None = None
    ) -> None:
        self.patch_size = patch_size
        self.counts: Int[Tensor, " vocabulary"] = torch.zeros(
            vocabulary, dtype=torch.int64, device=device
        )
        """Patches of each code."""
        self.sums: Float[Tensor, "vocabulary patch_dim"] = torch.zeros(
            vocabulary, 3 * patch_size**2, dtype=torch.float64, device=device
        )
        """Of their pixels, float64; sums and counts of several parts of the images add up."""

    @torch.no_grad()
    def add(
        self,
        images: Float[Tensor, "batch 3 height width"],
        codes: Int[Tensor, "batch tokens"],
    ) -> None:
        """Count the patches of some images and their codes."""
        patches = patchify(images.double(), self.patch_size).flatten(0, 1)
        self.sums += sum_by_code(patches, codes.flatten(), len(self.counts))
        self.counts += codes.flatten().bincount(minlength=len(self.counts))

    def means(self) -> Float[Tensor, "vocabulary patch_dim"]:
        """float32, numbers ordered (row, column, channel); zero for a code that has no patch."""
        return (self.sums / self.counts.clamp(min=1)[:, None]).float()
