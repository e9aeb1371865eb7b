"""Which patches of which images a tokenizer learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from mimlab_objectives.keys import key_of, sample_keys, uniform_numpy


@dataclass(frozen=True)
class PatchSample:
    """Some patches of every image over one pass, as k-CLIP's points are taken (aimagelab/MaPeT,
    data/kmeans/kmeans_processing.py), but exactly as many as are asked for.

    A pure function of seed, sample id and the image's row: the same on any number of workers.
    """

    seed: int
    images: int
    """The first so many rows of the split, which the import has permuted."""
    tokens: int
    """Patches of an image."""
    points: int
    """Patches in all; at most all that there are."""

    @classmethod
    def of(cls, seed: int, *, images: int, tokens: int, wanted: int) -> PatchSample:
        """As many points as are wanted, or all that there are."""
        return cls(seed, images, tokens, min(wanted, images * tokens))

    def counts(self, rows: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        """Patches that are taken of each image: `points` in all, and of no two images numbers that
        differ by more than 1."""
        return (rows + 1) * self.points // self.images - rows * self.points // self.images

    def chosen(
        self, rows: Int64[np.ndarray, " rows"], ids: Int64[np.ndarray, " rows"]
    ) -> Bool[np.ndarray, "rows tokens"]:
        """True for the patches that are taken: of an image, any are as likely as others."""
        keys = sample_keys(key_of(self.seed, "patches to fit"), ids, 0)
        order = uniform_numpy(keys, self.tokens).argsort(axis=1, kind="stable")
        return order.argsort(axis=1) < self.counts(rows)[:, None]
