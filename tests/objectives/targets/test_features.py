from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.features import FeatureParams, FeatureTarget

GRID = (2, 2)


def features(**params: object) -> FeatureTarget:
    teacher = {"name": "vit_tiny_patch16_224", "weights": "random", "layer": 1}
    given = {"teacher": teacher, **params}
    return FeatureTarget(FeatureParams.model_validate(given), 8, GRID)


def images_of(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_norms_are_the_three_of_the_literature() -> None:
    found = {norm: features(norm=norm).compute(images_of(2)) for norm in ("ln", "std", "l2")}
    assert found["ln"].shape == (2, 4, 192)
    ones = torch.ones(2, 4)
    torch.testing.assert_close(found["ln"].var(-1, correction=0), ones, atol=1e-3, rtol=0)
    torch.testing.assert_close(found["std"].var(-1, correction=1), ones, atol=1e-3, rtol=0)
    torch.testing.assert_close(found["l2"].norm(dim=-1), ones)
    torch.testing.assert_close(found["ln"].mean(-1), 0 * ones, atol=1e-5, rtol=0)


def test_an_affine_change_of_a_tokens_features_leaves_the_target() -> None:
    target, images = features(), images_of(2)
    before = target.compute(images)
    model = target.teacher
    assert model is not None
    found = model(images)
    model.forward = lambda _: 3 * found + 5  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(target.compute(images), before, atol=1e-4, rtol=1e-3)


def test_boards_show_components_that_are_fitted_and_saved() -> None:
    target, again = features(), features()
    images = images_of(8)
    target.fit(images)
    assert set(target.state_dict()) == {"centre", "axes"} and target.fit_images > 0
    again.load_state_dict(target.state_dict())
    prediction = target.compute(images).unsqueeze(1)
    pixels = target.to_pixels(prediction, images)
    assert pixels.shape == (8, 1, 4, 192)
    assert torch.equal(again.to_pixels(prediction, images), pixels)
    colours = pixels[:, 0].unflatten(2, (64, 3))
    assert (colours == colours[:, :, :1]).all()  # one colour a patch
    points = (prediction[:, 0] - target.centre).flatten(0, 1) @ target.axes
    torch.testing.assert_close(points.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    covariance = points.T.cov(correction=0)
    torch.testing.assert_close(covariance, torch.eye(3), atol=1e-3, rtol=0)


def test_the_mean_feature_is_grey() -> None:
    target = features()
    target.fit(images_of(8))
    pixels = target.to_pixels(target.centre.view(1, 1, 1, -1), images_of(1))
    assert not pixels.any()


def test_the_defaults_and_refusals() -> None:
    assert targets["features"].part is FeatureTarget
    given = FeatureParams()
    assert given.norm == "ln" and given.teacher is not None
    assert given.teacher.weights == "random" and given.teacher.layer is None
    with pytest.raises(ValidationError):
        FeatureParams.model_validate({"norm": "batch"})
    with pytest.raises(ParamsError):
        features(teacher={"name": "vit_tiny_patch61", "weights": "random"})
