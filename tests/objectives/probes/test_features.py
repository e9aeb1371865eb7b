import pytest
import torch

from mimlab_objectives.probes.features import pixel_features, pool


def test_the_mean_leaves_the_prefix_out() -> None:
    tokens = torch.tensor([[[100.0], [200.0], [1.0], [3.0]]])
    assert pool(tokens, 2, "mean").tolist() == [[2.0]]
    assert pool(tokens, 2, "cls").tolist() == [[100.0]]
    assert pool(tokens, 0, "mean").tolist() == [[76.0]]


def test_without_a_prefix_there_is_no_class_token() -> None:
    with pytest.raises(ValueError, match="no class token"):
        pool(torch.zeros(1, 4, 2), 0, "cls")


def test_raw_pixels_are_the_image_flattened() -> None:
    images = torch.arange(24.0).reshape(2, 3, 2, 2).double()
    features = pixel_features(images)
    assert features.dtype == torch.float32
    assert features.tolist() == [list(range(12)), list(range(12, 24))]
