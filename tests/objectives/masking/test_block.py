"""BEiT's and BEiT v2's block-wise masking, at 75 of 196 patches as both papers have it."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import key_of, sample_keys, uniform
from mimlab_objectives.masking.block import Block, BlockParams, Blocks, BlockUnrepaired
from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.registry import ParamsError

KEYS = torch.from_numpy(sample_keys(key_of(0, "block"), np.arange(10_000), 0))
BEIT = BlockParams(ratio=0.38)


@pytest.fixture(scope="module")
def hidden() -> Tensor:
    """Masks of BEiT, without repair: (10 000, 14, 14)."""
    masking = BlockUnrepaired(BEIT, (14, 14))
    assert masking.num_hidden == 75
    return masking.plan(MaskRequest(KEYS)).hidden.view(-1, 14, 14)


def test_count_falls_short_a_little_and_is_never_exceeded(hidden: Tensor) -> None:
    count = hidden.sum((1, 2)).float()
    assert abs(count.mean() - 74.5) < 0.15
    assert count.max() == 75
    assert count.min() >= 60
    assert ((count >= 59).float().mean()) > 0.99
    assert abs((count == 75).float().mean() - 0.67) < 0.03


def test_the_centre_is_hidden_most_and_the_sides_alike(hidden: Tensor) -> None:
    often = hidden.float().mean(0)
    corners = often[[0, 0, 13, 13], [0, 13, 0, 13]]
    edges = torch.stack([often[0, 6:8], often[13, 6:8], often[6:8, 0], often[6:8, 13]])
    assert (corners - 0.04).abs().max() < 0.01
    assert (edges - 0.19).abs().max() < 0.025
    assert (often[6:8, 6:8] - 0.72).abs().max() < 0.025


def test_hidden_patches_form_few_components(hidden: Tensor) -> None:
    counts = [
        cv2.connectedComponents(image, connectivity=4)[0] - 1  # less the background
        for image in hidden[:3000].byte().numpy()
    ]
    assert abs(np.mean(counts) - 1.4) < 0.1


def test_repair_reports_what_it_adds(hidden: Tensor) -> None:
    plan = Block(BEIT, (14, 14)).plan(MaskRequest(KEYS))
    repaired = plan.hidden.view(-1, 14, 14)
    assert (repaired.sum((1, 2)) == 75).all()
    assert (repaired | ~hidden).all()
    assert torch.equal(plan.repaired[:, 0], 75 - hidden.sum((1, 2)))


def test_many_patches_are_reached_too() -> None:
    """147 of 196: mean 146.3, exact in 65 % of draws."""
    plan = BlockUnrepaired(BlockParams(ratio=0.75), (14, 14)).plan(MaskRequest(KEYS[:4000]))
    count = plan.hidden.sum(2).float()
    assert abs(count.mean() - 146.3) < 0.3
    assert abs((count == 147).float().mean() - 0.65) < 0.03
    assert count.max() == 147


def one_by_one(blocks: Blocks, key: Tensor) -> list[list[bool]]:
    """The algorithm as the paper tells it, for one image, in plain Python."""
    rows, columns = blocks.grid
    mask = [[False] * columns for _ in range(rows)]
    refused = attempt = 0
    while refused < 10 and (missing := blocks.hidden.mean - sum(map(sum, mask))) > 0:
        draws = uniform(key[None], 4, attempt)[0].tolist()
        area = blocks.min_area + (missing - blocks.min_area) * draws[0]
        aspect = float(blocks.aspects[int(draws[1] * len(blocks.aspects))])
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        new: set[tuple[int, int]] = set()
        if height < rows and width < columns:
            top = int(draws[2] * (rows - height + 1))
            left = int(draws[3] * (columns - width + 1))
            new = {
                (row, column)
                for row in range(top, top + height)
                for column in range(left, left + width)
                if not mask[row][column]
            }
        accepted = 0 < len(new) <= missing
        for row, column in new if accepted else ():
            mask[row][column] = True
        refused = 0 if accepted else refused + 1
        attempt += 1
    return mask


@pytest.mark.parametrize(
    ("grid", "params"),
    [
        ((14, 14), BEIT),
        ((6, 20), BlockParams(ratio=0.6, min_area=4)),
        ((9, 5), BlockParams(ratio=0.9, min_area=2, aspect=0.05)),
        ((8, 8), BlockParams(ratio=0.5, min_area=9, aspect=1.0)),
    ],
    ids=str,
)
def test_a_batch_is_what_its_images_are_one_by_one(
    grid: tuple[int, int], params: BlockParams
) -> None:
    blocks = Blocks(params, grid)
    masks = blocks.draw(KEYS[:40], blocks.hidden.mean).view(40, *grid)
    assert masks.tolist() == [one_by_one(blocks, key) for key in KEYS[:40]]


def test_aspect_is_log_uniform_between_its_bounds() -> None:
    logs = Blocks(BEIT, (14, 14)).aspects.log() / math.log(1 / 0.3)
    assert logs.min() > -1
    assert logs.max() < 1
    assert (logs.sort().values - logs).abs().max() == 0
    assert (logs.diff() - 2 / len(logs)).abs().max() < 1e-9


def test_more_than_the_asked_patches_in_one_block_is_refused() -> None:
    with pytest.raises(ParamsError, match="min_area 16 exceeds the 10 patches") as error:
        Block(BlockParams(ratio=0.05), (14, 14))
    assert error.value.field == "min_area"


def test_a_block_that_fits_nowhere_is_refused_with_the_largest_that_does() -> None:
    """Sides must stay below those of the grid: 4×4 patches never fit into a 4×4 grid."""
    with pytest.raises(ParamsError, match=r"fewer than 4 rows and 4 columns.*at most 12") as error:
        Block(BlockParams(ratio=0.9, min_area=15, aspect=1.0), (4, 4))
    assert error.value.field == "min_area"
    assert Block(BlockParams(ratio=0.9, min_area=12, aspect=1.0), (4, 4)).num_hidden == 15


def test_a_block_that_cannot_have_its_area_is_refused() -> None:
    """Squares have 1, 4, 9, … patches: 3 cannot be hidden by one of about 3."""
    with pytest.raises(ParamsError, match=r"within the 3 patches .* min_area may be at most 2"):
        BlockUnrepaired(BlockParams(ratio=0.08, min_area=3, aspect=1.0), (6, 6))


def test_a_grid_of_one_row_has_no_blocks() -> None:
    with pytest.raises(ParamsError, match="take another masking"):
        Block(BlockParams(min_area=1), (1, 12))
