from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.pixels import patchify, unpatchify
from mimlab_objectives.targets.tokens import TokenParams, TokenTarget

GRID = (4, 4)
RESNET: dict[str, object] = {"name": "resnet18", "weights": "random", "layer": 3}


def tokens(**params: object) -> TokenTarget:
    given = {"vocabulary": 8, "images": 32, **params}
    return TokenTarget(TokenParams.model_validate(given), 8, GRID)


def stamped(codes: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """(images, stamps): every patch is one of a few stamps, more or less noisy."""
    generator = torch.Generator().manual_seed(0)
    stamps = torch.randn(int(codes.max()) + 1, 192, generator=generator)
    patches = stamps[codes] + noise * torch.randn(*codes.shape, 192, generator=generator)
    return unpatchify(patches, 8, GRID), stamps


def drawn(images: int, vocabulary: int, seed: int = 0) -> Tensor:
    return torch.randint(vocabulary, (images, 16), generator=torch.Generator().manual_seed(seed))


def test_stamps_are_found_and_each_has_a_code_of_its_own() -> None:
    truth = drawn(32, 8)
    images, stamps = stamped(truth, noise=0.05)
    target = tokens(restarts=20)
    target.fit(images)
    codes = target.compute(images)
    assert codes.shape == (32, 16) and codes.dtype == torch.int64
    pairs = {(int(a), int(b)) for a, b in zip(truth.flatten(), codes.flatten(), strict=True)}
    assert len(pairs) == 8 and len({code for _, code in pairs}) == 8
    by_truth = dict(pairs)
    mine = target.patches[[by_truth[i] for i in range(8)]]
    torch.testing.assert_close(mine, stamps, atol=0.05, rtol=0)


def test_the_picture_of_a_prediction_is_the_mean_patch_of_its_likeliest_code() -> None:
    images, _ = stamped(drawn(32, 8))
    target = tokens()
    target.fit(images)
    logits = torch.nn.functional.one_hot(target.compute(images), 8).float()
    pixels = target.to_pixels(logits.unsqueeze(1), images)
    torch.testing.assert_close(pixels[:, 0], patchify(images, 8), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("params", [{}, {"features": "hog"}, {"teacher": RESNET}])
def test_what_was_fitted_is_saved_and_fitting_again_gives_the_same(
    params: dict[str, object],
) -> None:
    images, _ = stamped(drawn(32, 30), noise=0.3)
    first, second, loaded = tokens(**params), tokens(**params), tokens(**params)
    first.fit(images)
    second.fit(images)
    assert torch.equal(first.compute(images), second.compute(images))
    assert set(first.state_dict()) == {"encoder.codebook", "patches"}
    loaded.load_state_dict(first.state_dict())
    assert torch.equal(loaded.compute(images), first.compute(images))
    assert len(first.compute(images).unique()) == 8  # every code is used
    assert first.dim == 8 and first.fit_images == 32


def test_codes_beyond_the_different_patches_do_no_harm() -> None:
    images, _ = stamped(drawn(32, 3))
    target = tokens()
    target.fit(images)
    assert len(target.compute(images).unique()) == 3
    assert target.encoder is not None and torch.isfinite(target.encoder.codebook).all()
    assert torch.isfinite(target.patches).all()


def test_more_codes_than_patches_are_refused() -> None:
    with pytest.raises(ParamsError, match="have 512: lower vocabulary") as caught:
        tokens(vocabulary=513)
    assert caught.value.field == "vocabulary"
    with pytest.raises(ValueError, match="512 codes need as many patches, and there are only 64"):
        tokens(vocabulary=512).fit(torch.randn(4, 3, 32, 32))


def test_an_image_gives_the_same_codes_in_any_batch() -> None:
    images, _ = stamped(drawn(32, 20), noise=0.5)
    target = tokens()
    target.fit(images)
    together = target.compute(images)
    alone = torch.cat([target.compute(images[i : i + 1]) for i in range(32)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    "params",
    [
        {"teacher": RESNET, "features": "pixels"},
        {"teacher": "resnet18"},
        {"layer": 3},
        {"vocabulary": 1},
        {"codes": 512},
    ],
)
def test_parameters_without_effect_or_sense_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TokenParams.model_validate(params)


def test_resolved_parameters_are_valid_again() -> None:
    for given in ({}, {"features": "hog"}, {"teacher": RESNET}):
        params = TokenParams.model_validate(given)
        assert TokenParams.model_validate(params.model_dump()) == params


def test_its_name_says_that_it_is_not_the_papers_tokenizer() -> None:
    shown = TokenParams(vocabulary=512).shown_as("tokens")
    assert shown == "tokens(kmeans-pixels-512)"
    taught = TokenParams.model_validate({"teacher": {**RESNET, "weights": "timm"}})
    assert taught.shown_as("tokens") == "tokens(kmeans-resnet18-timm-layer3-8192)"


def test_a_tokenizer_is_as_good_as_its_codes_are_many() -> None:
    """Distortion falls with the vocabulary, towards nothing where every patch has its code."""
    images, _ = stamped(drawn(32, 16), noise=0.2)
    patches = patchify(images, 8)
    errors = []
    for vocabulary in (2, 8, 64, 512):
        target = tokens(vocabulary=vocabulary)
        target.fit(images)
        assert target.encoder is not None
        errors.append(
            float((target.encoder.codebook[target.compute(images)] - patches).square().mean())
        )
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 < errors[0]
    assert math.isclose(errors[2], 0.04, rel_tol=0.5)  # 16 stamps are found, their noise is left


def test_the_registry_knows_it() -> None:
    assert targets["tokens"].part is TokenTarget and TokenTarget.kind == "classes"
