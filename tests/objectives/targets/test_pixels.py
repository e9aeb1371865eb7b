import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget, patchify, unpatchify


def images_of(rows: int, columns: int, patch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, rows * patch, columns * patch, generator=generator)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), patch=st.integers(1, 6))
def test_unpatchify_inverts_patchify(rows: int, columns: int, patch: int) -> None:
    images = images_of(rows, columns, patch)
    patches = patchify(images, patch)
    assert patches.shape == (2, rows * columns, 3 * patch**2)
    assert torch.equal(unpatchify(patches, patch, (rows, columns)), images)


def test_numbers_inside_a_patch_are_row_column_channel() -> None:
    images = torch.arange(3 * 4 * 6.0).reshape(1, 3, 4, 6)
    patches = patchify(images, 2)
    token = 1 * 3 + 2  # second row of patches, third column
    expected = [images[0, c, 2 + y, 4 + x] for y in range(2) for x in range(2) for c in range(3)]
    assert patches[0, token].tolist() == [float(value) for value in expected]


def test_an_image_that_patches_do_not_tile_is_refused() -> None:
    with pytest.raises(RuntimeError):
        patchify(torch.zeros(1, 3, 9, 8), 4)


def test_standardised_patches_have_mean_zero_and_unbiased_variance_one() -> None:
    target = PixelTarget(PixelParams(), 8, (8, 8)).compute(5 * images_of(2, 3, 8) + 3)
    torch.testing.assert_close(target.mean(-1), torch.zeros(2, 6), atol=1e-6, rtol=0)
    torch.testing.assert_close(target.var(-1, correction=1), torch.ones(2, 6), atol=1e-5, rtol=0)


@pytest.mark.parametrize("patch", [4, 16])
def test_predicting_zero_costs_one_less_than_the_dimension(patch: int) -> None:
    target = PixelTarget(PixelParams(), patch, (8, 8))
    cost = target.compute(images_of(2, 2, patch)).square().mean(-1)
    exact = (target.dim - 1) / target.dim
    torch.testing.assert_close(cost, torch.full_like(cost, exact), rtol=1e-5, atol=0)


def test_a_constant_patch_is_zero() -> None:
    target = PixelTarget(PixelParams(), 16, (8, 8)).compute(torch.full((1, 3, 32, 32), 0.625))
    assert not target.any()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_contrast_and_brightness_of_a_patch_do_not_matter(scale: float, shift: float) -> None:
    images, target = images_of(2, 2, 8), PixelTarget(PixelParams(), 8, (8, 8))
    # 1e-6 beside a variance of at least 0.01 · 0.8 moves a value by less than 1e-4
    torch.testing.assert_close(
        target.compute(scale * images + shift), target.compute(images), atol=1e-3, rtol=1e-3
    )


def test_without_a_norm_the_target_is_the_pixels() -> None:
    images = images_of(2, 2, 8)
    assert torch.equal(
        PixelTarget(PixelParams(norm="none"), 8, (8, 8)).compute(images), patchify(images, 8)
    )


@pytest.mark.parametrize("norm", ["none", "patch"])
def test_a_perfect_prediction_becomes_the_image_in_every_round(norm: str) -> None:
    images, target = (
        images_of(2, 3, 8),
        PixelTarget(PixelParams.model_validate({"norm": norm}), 8, (8, 8)),
    )
    prediction = target.compute(images).unsqueeze(1).expand(-1, 2, -1, -1)
    pixels = target.to_pixels(prediction, images)
    for number in range(2):
        image = unpatchify(pixels[:, number], 8, (2, 3))
        torch.testing.assert_close(image, images, atol=1e-5, rtol=1e-5)


def test_targets_are_float32_and_carry_no_gradient() -> None:
    images = images_of(2, 2, 8).bfloat16().requires_grad_()
    target = PixelTarget(PixelParams(), 8, (8, 8)).compute(images)
    assert target.dtype == torch.float32 and not target.requires_grad


def test_the_registry_knows_it_and_its_parameters() -> None:
    assert targets["pixels"].part is PixelTarget
    assert targets["pixels"].params() == PixelParams(norm="patch")
    with pytest.raises(ValidationError):
        PixelParams.model_validate({"norm": "window"})
