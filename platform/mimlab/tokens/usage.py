"""How a vocabulary is used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class CodeUsage:
    """Of the codes of many patches."""

    patches: int
    used: int
    """Codes that at least one of the patches has."""
    vocabulary: int
    perplexity: float
    """Exponential of the entropy of codes: the number of codes if all were used alike."""

    @classmethod
    def of(cls, counts: Int[Tensor, " vocabulary"]) -> CodeUsage:
        """From the number of patches of each code."""
        share = counts.double() / counts.sum().clamp(min=1)
        entropy = -torch.special.xlogy(share, share).sum()
        return cls(
            patches=int(counts.sum()),
            used=int((counts > 0).sum()),
            vocabulary=len(counts),
            perplexity=float(entropy.exp()),
        )
