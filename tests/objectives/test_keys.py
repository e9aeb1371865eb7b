"""Counter-based randomness: published vectors, one stream on every device, independence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mimlab_objectives.keys import bits, fold, key_of, mix, sample_keys, uniform, uniform_numpy

INT64 = st.integers(-(2**63), 2**63 - 1)
KEYS = arrays(np.int64, st.integers(1, 20), elements=INT64)
MANY = sample_keys(key_of(7, "test"), np.arange(50_000), 3)


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


@pytest.mark.parametrize(
    ("seed", "outputs"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
    ],
)
def test_mix_gives_the_published_outputs_of_splitmix64(seed: int, outputs: list[int]) -> None:
    """SplitMix64 is mix(seed + k · golden ratio), k = 1, 2, …"""
    states = [signed((seed + k * 0x9E3779B97F4A7C15) % 2**64) for k in (1, 2, 3)]
    assert mix(np.array(states)).tolist() == [signed(output) for output in outputs]


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ((0,), -2152535657050944081),
        ((0, "view"), 2227979650406833680),
        ((7, "mask", -1), 3387266333912876426),
    ],
    ids=str,
)
def test_keys_never_change(parts: tuple[int | str, ...], key: int) -> None:
    """Views and masks of every stored trial hang on these numbers."""
    assert key_of(*parts) == key


@given(KEYS, INT64)
def test_numpy_and_torch_agree_bit_for_bit(keys: np.ndarray, part: int) -> None:
    tensor = torch.from_numpy(keys)
    parts = np.full_like(keys, part)
    assert mix(tensor).tolist() == mix(keys).tolist()
    assert fold(tensor, torch.from_numpy(parts)).tolist() == fold(keys, parts).tolist()
    numpy = uniform_numpy(keys, 5)
    assert (bits(tensor, 5) >> 10).tolist() == (numpy * 2**53).astype(np.int64).tolist()
    assert (uniform(tensor, 5).double().numpy() == np.floor(numpy * 2**24) / 2**24).all()


@given(KEYS)
def test_draws_of_a_key_depend_on_no_other(keys: np.ndarray) -> None:
    tensor = torch.from_numpy(keys)
    whole = uniform(tensor, 8, stream=2)
    assert torch.equal(uniform(tensor[-1:], 8, stream=2), whole[-1:])
    assert torch.equal(uniform(tensor, 3, stream=2), whole[:, :3])


@given(KEYS, st.integers(-5, 5))
def test_draws_stay_in_range(keys: np.ndarray, stream: int) -> None:
    tensor = torch.from_numpy(keys)
    assert (bits(tensor, 4, stream) >= 0).all()
    for draws in (uniform(tensor, 4, stream).numpy(), uniform_numpy(keys, 4)):
        assert (draws >= 0).all()
        assert (draws < 1).all()


def test_order_and_names_matter() -> None:
    keys = {key_of(1, 2), key_of(2, 1), key_of(1), key_of(1, 2, 0), key_of(1, "2"), key_of("1", 2)}
    assert len(keys) == 6


def test_sample_keys_are_distinct_over_samples_and_epochs() -> None:
    ids = np.arange(20_000)
    epochs = [sample_keys(5, ids, epoch) for epoch in range(10)]
    assert len(np.unique(epochs)) == 200_000
    mixed = sample_keys(5, ids[:2], np.array([0, 9]))
    assert mixed.tolist() == [epochs[0][0], epochs[9][1]]


def test_draws_are_uniform() -> None:
    """χ² of 64 bins has mean 63 and standard deviation 11.2; every bit is set half the time."""
    draws = uniform(torch.from_numpy(MANY), 4)
    for column in draws.T.numpy():
        counts = np.histogram(column, bins=64, range=(0, 1))[0]
        expected = len(MANY) / 64
        assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * 11.2
    ones = (bits(torch.from_numpy(MANY), 1) >> torch.arange(63)) & 1
    assert (ones.double().mean(0) - 0.5).abs().max() < 0.012


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def test_neighbours_are_uncorrelated() -> None:
    """Keys, samples, epochs, positions and streams that differ by one: |r| < 5 / √n."""
    limit = 5 / np.sqrt(len(MANY))
    counters = torch.arange(-25_000, 25_001)
    plain = uniform(counters, 1)
    samples = uniform(torch.from_numpy(MANY), 2)
    other_epoch = uniform(torch.from_numpy(sample_keys(key_of(7, "test"), np.arange(50_000), 4)), 2)
    other_stream = uniform(torch.from_numpy(MANY), 2, stream=1)
    assert abs(correlation(plain[1:], plain[:-1])) < limit
    assert abs(correlation(samples[1:, 0], samples[:-1, 0])) < limit
    assert abs(correlation(samples[:, 0], samples[:, 1])) < limit
    assert abs(correlation(samples, other_epoch)) < limit
    assert abs(correlation(samples, other_stream)) < limit
