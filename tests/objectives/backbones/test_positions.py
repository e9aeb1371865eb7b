import numpy as np
import pytest
import torch

from mimlab_objectives.backbones.positions import sincos_positions
from mimlab_objectives.registry import ParamsError


def test_first_half_encodes_the_column_and_second_half_the_row() -> None:
    table = sincos_positions((3, 4), 8, field="embed_dim")  # two frequencies: 1 and 1/100
    row, column = 2, 3
    sines = [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)]
    sines += [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)]
    np.testing.assert_allclose(table[row * 4 + column], sines, rtol=1e-6)


def test_the_origin_is_sine_zero_and_cosine_one() -> None:
    table = sincos_positions((2, 2), 16, field="embed_dim")
    assert table[0].tolist() == ([0.0] * 4 + [1.0] * 4) * 2


def test_shape_and_precision() -> None:
    table = sincos_positions((14, 14), 384, field="embed_dim")
    assert table.shape == (196, 384) and table.dtype == torch.float32
    assert len(table.unique(dim=0)) == 196


def test_channels_that_do_not_split_in_four_are_refused_by_name() -> None:
    with pytest.raises(ParamsError, match="multiple of 4 channels, not 30") as caught:
        sincos_positions((2, 2), 30, field="decoder_width")
    assert caught.value.field == "decoder_width"
