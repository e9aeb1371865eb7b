"""Hiding by a map of the data."""

import numpy as np
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys, uniform
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.prior import Prior, PriorParams, rank01

KEYS = torch.from_numpy(sample_keys(key_of(0, "prior"), np.arange(5000), 0))


def hidden_of(prior: Tensor, progress: float = 0.0, **params: object) -> Tensor:
    masking = Prior(PriorParams.model_validate(params), (8, 8))
    keys = KEYS[: len(prior)]
    request = MaskRequest(keys, progress=progress, signals={"prior_map": prior})
    return masking.plan(request).hidden[:, 0]


def test_the_map_alone_hides_its_highest_or_its_lowest() -> None:
    prior = uniform(KEYS[:50], 64, 7) * 1000 - 500
    high = hidden_of(prior, weight=1, ratio=0.25)
    assert torch.equal(high, prior >= prior.sort(dim=1).values[:, 48:49])
    low = hidden_of(prior, weight=1, ratio=0.25, hide="low")
    assert torch.equal(low, prior <= prior.sort(dim=1).values[:, 15:16])


def test_without_weight_it_is_random_masking() -> None:
    prior = torch.arange(64.0).expand(5000, -1)
    frequency = hidden_of(prior, weight=0, ratio=0.25).float().mean(0)
    assert (frequency - 0.25).abs().max() < 0.03


def test_in_between_higher_values_are_hidden_more_often_but_not_always() -> None:
    prior = torch.arange(64.0).expand(5000, -1)
    frequency = hidden_of(prior, ratio=0.5).float().mean(0)
    assert torch.corrcoef(torch.stack([frequency, torch.arange(64.0)]))[0, 1] > 0.9
    assert 0.02 < frequency[8] < 0.4 and 0.6 < frequency[55] < 0.98


def test_only_the_order_of_the_map_counts() -> None:
    prior = uniform(KEYS[:50], 64, 7)
    assert torch.equal(hidden_of(prior), hidden_of(prior.exp() * 100))


def test_the_weight_moves_with_progress() -> None:
    prior = uniform(KEYS[:50], 64, 7)
    moving = {"weight": 0, "weight_end": 1}
    assert torch.equal(hidden_of(prior, 0.0, **moving), hidden_of(prior, weight=0))
    assert torch.equal(hidden_of(prior, 0.5, **moving), hidden_of(prior, weight=0.5))
    assert torch.equal(hidden_of(prior, 1.0, **moving), hidden_of(prior, weight=1))


def test_equal_values_are_chosen_by_chance_not_by_place() -> None:
    prior = torch.zeros(5000, 64)
    prior[:, 10] = 3
    frequency = hidden_of(prior, weight=1, ratio=0.5).float().mean(0)
    assert frequency[10] == 1
    others = frequency[torch.arange(64) != 10]
    assert (others - 31 / 63).abs().max() < 0.04


def test_ranks() -> None:
    values = torch.tensor([[5.0, -1.0, 5.0, 2.0, 9.0]])
    assert torch.equal(rank01(values), torch.tensor([[0.5, 0.0, 0.5, 0.25, 1.0]]))
