"""Keeping at random, by a teacher's attention."""

import numpy as np
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.attentive import Attentive, AttentiveParams
from mimlab_objectives.masking.plan import MaskRequest

KEYS = torch.from_numpy(sample_keys(key_of(0, "attentive"), np.arange(20_000), 0))


def kept(attention: Tensor, ratio: float, grid: tuple[int, int], count: int) -> Tensor:
    masking = Attentive(AttentiveParams(ratio=ratio), grid)
    request = MaskRequest(KEYS[:count], signals={"teacher_attention": attention.expand(count, -1)})
    return ~masking.plan(request).hidden[:, 0]


def test_keeping_one_patch_has_the_probabilities_of_the_attention() -> None:
    attention = torch.tensor([0.1, 0.2, 0.3, 0.4])
    frequency = kept(attention, 0.75, (2, 2), 20_000).float().mean(0)
    assert (frequency - attention).abs().max() < 0.015


def test_keeping_two_is_drawing_without_replacement() -> None:
    """P(i kept) = p_i + Σ_j p_j p_i ÷ (1 − p_j), whatever the scale of the attention."""
    attention = torch.tensor([1.0, 2.0, 3.0, 4.0])
    p = attention / attention.sum()
    both = p[:, None] * p / (1 - p[:, None])  # j first, then i
    second = both.sum(0) - both.diagonal()
    frequency = kept(attention, 0.5, (2, 2), 20_000).float().mean(0)
    assert (frequency - (p + second)).abs().max() < 0.015


def test_patches_are_kept_the_more_often_the_more_they_are_attended_to() -> None:
    attention = torch.linspace(0.1, 3, 196)
    frequency = kept(attention, 0.7, (14, 14), 2000).float().mean(0)
    ranks = frequency.argsort().argsort().float()
    assert torch.corrcoef(torch.stack([ranks, torch.arange(196.0)]))[0, 1] > 0.9


def test_equal_attention_is_random_masking() -> None:
    frequency = kept(torch.ones(196), 0.7, (14, 14), 10_000).float().mean(0)
    assert (frequency - 58 / 196).abs().max() < 0.02


def test_patches_without_attention_are_kept_only_where_the_others_do_not_suffice() -> None:
    attention = torch.zeros(16)
    attention[:5] = torch.arange(1, 6)
    few = kept(attention, 0.75, (4, 4), 500)
    assert not few[:, 5:].any() and (few.sum(1) == 4).all()
    many = kept(attention, 0.5, (4, 4), 500)
    assert many[:, :5].all() and (many.sum(1) == 8).all()
    assert len(many.unique(dim=0)) > 50
