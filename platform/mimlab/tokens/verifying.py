"""Recomputing a part of a store, to see that it holds what its encoder gives."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from pydantic import BaseModel, ConfigDict

from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.tokens.batches import Batches
from mimlab.tokens.sampling import samples
from mimlab.tokens.store import TokenStore
from mimlab_objectives.tokenizers.base import PatchEncoder

MAX_DIFFERENT = 0.001
"""Share of patches: where two codes are about as near, another device may choose the other."""
FEATURE_TOLERANCE = 0.01
"""Of a feature's length: float16 keeps 0.0005, other devices' matrix products about as much."""


class Verification(BaseModel):
    """What a comparison came to."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    images: int
    """Each under one of its views."""
    patches: int
    different: int
    """Patches whose code is another one, or whose feature is farther off than rounding explains."""

    @property
    def share(self) -> float:
        """Of the patches that differ."""
        return self.different / max(1, self.patches)

    @property
    def passed(self) -> bool:
        return self.images > 0 and self.share <= MAX_DIFFERENT


def verify_tokens(
    store: TokenStore, encoder: PatchEncoder, data: DataSet, *, count: int = 256, seed: int = 0
) -> Verification:
    """Encode `count` random images again, each under a random one of its views.

    Raises UserError where the encoder is another than the store's.
    """
    if encoder.weights_sha256() != store.encoder.weights_sha256:
        raise UserError(
            f"{store.root}: made by {store.encoder.label} with weights "
            f"{store.encoder.weights_sha256[:16]}…, not by {encoder.label} with "
            f"{encoder.weights_sha256()[:16]}…"
        )
    batches = Batches(encoder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    images = patches = different = 0
    for sample in samples(store, data, count=count, seed=seed):
        if not len(sample.ids):
            continue
        found = batches.run(sample.pixels).cpu().numpy()
        wrong = _different(sample.stored, found)
        images, patches = images + len(sample.ids), patches + wrong.size
        different += int(wrong.sum())
    return Verification(images=images, patches=patches, different=different)


def _different(
    stored: Shaped[np.ndarray, "rows tokens *width"],
    found: Shaped[np.ndarray, "rows tokens *width"],
) -> Bool[np.ndarray, "rows tokens"]:
    if stored.ndim == 2:
        return stored != found
    error = np.linalg.norm(stored.astype(np.float64) - found, axis=-1)
    return error > FEATURE_TOLERANCE * np.linalg.norm(found.astype(np.float64), axis=-1)
