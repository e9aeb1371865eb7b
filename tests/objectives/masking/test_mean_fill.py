"""Cells in the mean colour of the image."""

import torch

from mimlab_objectives.masking.coarse import Coarse, CoarseParams
from mimlab_objectives.masking.mean_fill import MeanFillCells, MeanFillParams
from mimlab_objectives.masking.pixel_corruption import PixelCorruption
from mimlab_objectives.masking.plan import MaskRequest

KEYS = torch.arange(5)


def test_hidden_cells_are_painted_and_the_others_left() -> None:
    images = torch.randn(5, 3, 24, 48)
    plan = MeanFillCells(MeanFillParams(), (6, 12)).plan(MaskRequest(KEYS))
    assert isinstance(plan.corruption, PixelCorruption)
    painted = plan.corruption.apply(images)
    hidden = plan.hidden[:, 0].view(5, 6, 12).repeat_interleave(4, 1).repeat_interleave(4, 2)
    for image, result, where in zip(images, painted, hidden, strict=True):
        assert torch.equal(result[:, ~where], image[:, ~where])
        colour = image.mean((1, 2))[:, None].expand(-1, int(where.sum()))
        torch.testing.assert_close(result[:, where], colour)


def test_the_cells_are_those_of_coarse() -> None:
    request = MaskRequest(KEYS)
    plan = MeanFillCells(MeanFillParams(ratio=0.5), (6, 12)).plan(request)
    assert torch.equal(plan.hidden, Coarse(CoarseParams(ratio=0.5), (6, 12)).plan(request).hidden)
