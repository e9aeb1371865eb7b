"""Hiding what is predicted to be hard."""

import numpy as np
import pytest
import torch

from mimlab_objectives.keys import key_of, sample_keys, uniform
from mimlab_objectives.masking.hard_patches import HardPatches, HardPatchesParams
from mimlab_objectives.masking.plan import MaskRequest

KEYS = torch.from_numpy(sample_keys(key_of(0, "hard"), np.arange(4000), 0))
LOSS = uniform(KEYS, 196, 7)


def hidden_at(progress: float, loss: torch.Tensor = LOSS, **params: object) -> torch.Tensor:
    masking = HardPatches(HardPatchesParams.model_validate(params), (14, 14))
    request = MaskRequest(KEYS, progress=progress, signals={"patch_loss": loss})
    return masking.plan(request).hidden[:, 0]


@pytest.mark.parametrize(("epoch", "hard"), [(0, 0), (99, 36), (199, 73)])
def test_the_hardest_ones_are_hidden_as_many_as_in_the_paper(epoch: int, hard: int) -> None:
    """Of 200 epochs; the share of an epoch is that of its end."""
    hidden = hidden_at((epoch + 1) / 200)
    assert (hidden.sum(1) == 147).all()
    rank = LOSS.argsort(dim=1, descending=True).argsort(dim=1)
    assert hidden[rank < hard].all()
    others = hidden[(rank >= hard) & (rank < hard + 10)].float().mean()
    assert abs(others - (147 - hard) / (196 - hard)) < 0.02


def test_the_others_are_uniform() -> None:
    loss = torch.zeros(4000, 196)
    loss[:, :73] = 1
    frequency = hidden_at(1.0, loss).float().mean(0)
    assert (frequency[:73] == 1).all()
    expected = 74 / 123
    chi_square = ((frequency[73:] - expected) ** 2 * 4000 / (expected * (1 - expected))).sum()
    # 123 patches of a fixed total: mean 123, and far below 123 + 5 · √246
    assert chi_square < 202


def test_at_the_beginning_no_prediction_counts() -> None:
    assert torch.equal(hidden_at(0.0), hidden_at(0.0, torch.flip(LOSS, [1])))


def test_a_constant_share_ignores_progress() -> None:
    first, last = (hidden_at(progress, start=1, end=1) for progress in (0.0, 1.0))
    assert torch.equal(first, last)
    assert torch.equal(first, LOSS.sort(dim=1).values[:, 49:50] <= LOSS)
