"""How a vocabulary is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
    """See `perplexity_of`."""

    @classmethod
    def of(cls, counts: Int[Tensor, " vocabulary"]) -> CodeUsage:
        """From the number of patches of each code."""
        return cls(
            patches=int(counts.sum()),
            used=int((counts > 0).sum()),
            vocabulary=len(counts),
            perplexity=perplexity_of(counts.numpy()),
        )


def perplexity_of(counts: Int[np.ndarray, " vocabulary"]) -> float:
    """Exponential of the entropy of codes: the number of codes if all were used alike."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(np.exp(-(shares * np.log(shares)).sum()))
