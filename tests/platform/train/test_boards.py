"""Boards show what was hidden and what was made of it, and change nothing."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from mimlab.train.boards import GAP_PX, BoardMaker, compose, encode_png
from mimlab.train.fixed_images import fixed_images
from mimlab.train.seen import GREY, seen_of
from mimlab.train.session import Session
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.masking.uniform import Random, RandomParams

GRID, PATCH, SCALE = (4, 4), 4, 6  # 16 px, enlarged to 96
SIDE = PATCH * GRID[0] * SCALE


@pytest.fixture
def plan() -> MaskPlan:
    masking = Random(RandomParams(ratio=0.5), GRID)
    return masking.plan(MaskRequest(torch.tensor([11, 12, 13])))


def noise(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=generator)


def tile(board: np.ndarray, row: int, column: int) -> np.ndarray:
    """One picture of a board, at its own size again."""
    top, left = row * (SIDE + GAP_PX), column * (SIDE + GAP_PX)
    return board[top : top + SIDE : SCALE, left : left + SIDE : SCALE]


def hidden_pixels(plan: MaskPlan, image: int) -> np.ndarray:
    hidden = plan.hidden[image, 0].view(GRID).numpy()
    return hidden.repeat(PATCH, axis=0).repeat(PATCH, axis=1)


def test_rows_are_input_masked_and_filled(plan: MaskPlan) -> None:
    images, predicted = noise(0), noise(1)
    board = compose(images, seen_of(images, plan), predicted)
    assert board.shape == (3 * (SIDE + GAP_PX), 3 * (SIDE + GAP_PX), 3)
    for i in range(3):
        hidden = hidden_pixels(plan, i)
        whole, masked, filled = (tile(board, row, i) for row in range(3))
        assert hidden.sum() == 128
        assert (whole == images[i].numpy()).all()
        assert (masked[hidden] == GREY).all()
        assert (masked[~hidden] == images[i].numpy()[~hidden]).all()
        assert (filled[hidden] == predicted[i].numpy()[hidden]).all()
        assert (filled[~hidden] == images[i].numpy()[~hidden]).all()


def test_small_images_are_enlarged_pixel_by_pixel(plan: MaskPlan) -> None:
    images = noise(0)
    board = compose(images, seen_of(images, plan), noise(1))
    expected = images[0].numpy().repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    assert (board[:SIDE, :SIDE] == expected).all()


def test_a_png_holds_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert (decoded[..., ::-1] == pixels).all()


def board_maker(session: Session) -> BoardMaker:
    images, ids = fixed_images(session.data, "test", 16, 4)
    return BoardMaker(session.objective, session.planner, images, ids, torch.device("cpu"))


def decoded(png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]


@pytest.mark.parametrize("objective", ["mae", "simmim"])
def test_drawing_leaves_the_objective_as_it_was(
    session_of: Callable[..., Session], objective: str
) -> None:
    session = session_of(f"objective={{name: {objective}}}")
    before = {name: value.clone() for name, value in session.objective.state_dict().items()}
    modes = [module.training for module in session.objective.modules()]
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    board_maker(session).draw()()
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in session.objective.modules()] == modes
    after = session.objective.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in session.objective.parameters())


def test_drawing_in_evaluation_stays_there(session_of: Callable[..., Session]) -> None:
    session = session_of()
    session.objective.eval()
    board_maker(session).draw()
    assert not session.objective.training


def test_a_board_is_drawn_now_and_encoded_later(session_of: Callable[..., Session]) -> None:
    session = session_of()
    boards = board_maker(session)
    first = boards.draw()
    same = boards.draw()
    with torch.no_grad():
        for parameter in session.objective.parameters():
            parameter.add_(0.1)
    changed = decoded(boards.draw()())
    assert (decoded(first()) == decoded(same())).all()
    assert (decoded(first())[: SIDE * 2] == changed[: SIDE * 2]).all()  # same images, same masks
    assert (decoded(first()) != changed).any()
