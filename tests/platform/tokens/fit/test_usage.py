"""Perplexity against its closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from mimlab.tokens.usage import CodeUsage


@pytest.mark.parametrize(
    ("counts", "used", "perplexity"),
    [
        ([5, 5, 5, 5], 4, 4.0),
        ([0, 9, 0], 1, 1.0),
        ([1, 3], 2, math.exp(0.25 * math.log(4) + 0.75 * math.log(4 / 3))),
    ],
)
def test_perplexity(counts, used, perplexity):
    usage = CodeUsage.of(torch.tensor(counts))
    assert (usage.used, usage.vocabulary, usage.patches) == (used, len(counts), sum(counts))
    assert usage.perplexity == pytest.approx(perplexity)
