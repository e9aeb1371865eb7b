"""ColorMAE: components, neighbours and spectra of its colours, as published masks have them."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.colormae import ColorMae, ColorMaeParams
from mimlab_objectives.masking.noise import Colour, bank_hash, bank_of
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "colormae"), np.arange(3000), 0))
COLOURS: list[Colour] = ["white", "red", "blue", "green", "purple"]


def visible_of(colour: Colour, **params: bool | float) -> Tensor:
    masking = ColorMae(ColorMaeParams.model_validate({"color": colour, **params}), (14, 14))
    return ~masking.plan(MaskRequest(KEYS)).hidden.view(-1, 14, 14)


@pytest.fixture(scope="module")
def visible() -> dict[Colour, Tensor]:
    return {colour: visible_of(colour) for colour in COLOURS}


@pytest.mark.parametrize(
    ("colour", "components", "pairs"),
    [
        ("white", 27.2, 22.4),
        ("red", 1.5, 77.4),
        ("blue", 35.4, 13.6),
        ("green", 9.2, 48.9),
        ("purple", 41.4, 7.6),
    ],
)
def test_components_and_adjacent_pairs(
    visible: dict[Colour, Tensor], colour: Colour, components: float, pairs: float
) -> None:
    masks = visible[colour]
    assert (masks.sum((1, 2)) == 49).all()
    found = [cv2.connectedComponents(m, connectivity=4)[0] - 1 for m in masks.byte().numpy()]
    assert abs(np.mean(found) - components) < 0.6
    across = (masks[:, :, 1:] & masks[:, :, :-1]).sum((1, 2))
    down = (masks[:, 1:] & masks[:, :-1]).sum((1, 2))
    assert abs((across + down).float().mean() - pairs) < 1.0


def test_spectra_have_the_colours_rings(visible: dict[Colour, Tensor]) -> None:
    """Power by frequency in cycles per patch, in rings of 1/14, without the corners."""
    frequency = np.hypot(np.fft.fftfreq(14)[:, None], np.fft.fftfreq(14)[None])
    ring = np.rint(frequency * 14).astype(int)

    def strongest(colour: Colour) -> float:
        masks = visible[colour].numpy() - 0.25
        power = (np.abs(np.fft.fft2(masks)) ** 2).mean(0)
        return max(range(1, 8), key=lambda r: power[ring == r].mean()) / 14

    assert strongest("red") == 1 / 14
    assert 0.14 <= strongest("green") <= 0.28
    assert strongest("blue") == strongest("purple") == 0.5


@pytest.mark.parametrize(
    ("colour", "low", "high"),
    [("white", 0.21, 0.29), ("green", 0.21, 0.29), ("blue", 0.21, 0.29), ("red", 0.10, 0.35)],
)
def test_no_place_is_preferred(
    visible: dict[Colour, Tensor], colour: Colour, low: float, high: float
) -> None:
    """Red's blobs are larger than a window, whose extremes then lie at its border."""
    often = visible[colour].float().mean(0)
    assert often.min() > low
    assert often.max() < high


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_other_ratios_are_exact_and_nested(ratio: float, visible: dict[Colour, Tensor]) -> None:
    """The same noise, cut at another height."""
    masks = visible_of("green", ratio=ratio)
    assert (masks.sum((1, 2)) == {0.5: 98, 0.9: 19}[ratio]).all()
    more, less = (masks, visible["green"]) if ratio == 0.5 else (visible["green"], masks)
    assert not (less & ~more).any()


@pytest.mark.parametrize(
    ("colour", "begins"),
    [
        ("white", "665cec1efee02b15"),
        ("red", "614389cf4ae47588"),
        ("blue", "0797c658593625c0"),
        ("green", "d451d614c312d3ac"),
        ("purple", "ebf409e6b4ebaffd"),
    ],
)
def test_banks_are_the_same_everywhere(colour: Colour, begins: str) -> None:
    """A bank of another hash gives other masks: the masking's revision must then change."""
    assert bank_hash(colour).startswith(begins)


def test_a_bank_is_noise_of_mean_0_and_deviation_1() -> None:
    bank = bank_of("green")[:200].float() / 4096
    assert bank.mean((1, 2)).abs().max() < 1e-3
    assert (bank.std((1, 2), correction=0) - 1).abs().max() < 1e-3
    assert bank_of("green") is bank_of("green")


def test_faithful_gives_a_batch_one_window_of_the_first_slices() -> None:
    masking = ColorMae(ColorMaeParams(faithful=True), (14, 14))
    assert masking.couples_batch
    assert not ColorMae(ColorMaeParams(), (14, 14)).couples_batch
    plan = masking.plan(MaskRequest(KEYS[:50], step_key=1))
    fewer = masking.plan(MaskRequest(KEYS[1000:1020], step_key=1))
    later = masking.plan(MaskRequest(KEYS[:50], step_key=2))
    assert torch.equal(plan.hidden[:20], fewer.hidden)  # by place in the batch, not by key
    assert not torch.equal(plan.hidden, later.hidden)
    assert len(plan.hidden.unique(dim=0)) == 50


def test_each_image_has_a_window_of_its_own_mirrored_or_not() -> None:
    """Found again in the bank by its corner and the patches next to that."""
    bank = bank_of("green")
    windows = ColorMae(ColorMaeParams(), (14, 14)).windows(MaskRequest(KEYS[:24]))
    steps = {(down, right) for down in (1, -1) for right in (1, -1)}
    found = []
    for window in windows:
        slices, rows, columns = (bank == window[0, 0]).nonzero().unbind(1)
        for down, right in steps:
            below = (rows[:, None] + down * torch.arange(14)) % 64
            beside = (columns[:, None] + right * torch.arange(14)) % 64
            same = bank[slices[:, None], below, columns[:, None]] == window[:, 0]
            same &= bank[slices[:, None], rows[:, None], beside] == window[0]
            found += [(int(number), down, right) for number in slices[same.all(1)]]
    assert len({number for number, *_ in found}) == len(found) == 24
    assert {(down, right) for _, down, right in found} == steps


def test_a_grid_larger_than_the_noise_is_refused() -> None:
    with pytest.raises(ParamsError, match="64×64 patches") as error:
        ColorMae(ColorMaeParams(), (65, 10))
    assert error.value.field == "name"
