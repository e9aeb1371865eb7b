"""Uniform random masking: MAE's counts and the statistics of independent patches."""

import cv2
import numpy as np
import torch

from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.uniform import Random, RandomParams

KEYS = torch.from_numpy(sample_keys(key_of(0, "random"), np.arange(10_000), 0))
HIDDEN = Random(RandomParams(), (14, 14)).plan(MaskRequest(KEYS)).hidden[:, 0]


def test_mae_hides_147_of_196() -> None:
    assert (HIDDEN.sum(1) == 147).all()


def test_each_position_is_hidden_equally_often() -> None:
    assert (HIDDEN.float().mean(0) - 0.75).abs().max() < 0.02


def test_pairs_are_as_in_a_draw_without_replacement() -> None:
    """P(both hidden) = 147/196 · 146/195 for every pair, neighbours or not."""
    both = HIDDEN.float().T @ HIDDEN.float() / len(HIDDEN)
    pairs = both[~torch.eye(196, dtype=torch.bool)]
    assert abs(pairs.mean() - 147 / 196 * 146 / 195) < 1e-4
    assert (pairs - pairs.mean()).abs().max() < 0.03


def test_visible_patches_form_27_components() -> None:
    """4-connected components of the visible patches; the 1–99 % band is 19–35."""
    visible = (~HIDDEN[:3000]).view(-1, 14, 14).byte().numpy()
    counts = np.array([cv2.connectedComponents(image, connectivity=4)[0] - 1 for image in visible])
    assert abs(counts.mean() - 27.2) < 0.3
    assert np.mean((counts >= 19) & (counts <= 35)) > 0.97
