"""What does not fit into memory is halved, and nothing but the batch changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mimlab.errors import UserError
from mimlab.tokens.batches import Halving


class Memory:
    """A device with room for so many images."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def double(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError
        return 2 * images


@pytest.mark.parametrize(("room", "size"), [(20, 16), (16, 16), (5, 4), (1, 1)])
def test_a_batch_is_halved_until_it_fits_and_stays_so(room, size):
    memory, parts, images = Memory(room), Halving(16, "net"), torch.arange(20)
    assert parts.run(memory.double, images).tolist() == (2 * images).tolist()
    assert parts.size == size
    memory.tried.clear()
    assert parts.run(memory.double, images).tolist() == (2 * images).tolist()
    assert max(memory.tried) == size


def test_an_image_that_does_not_fit_is_a_clear_error():
    with pytest.raises(UserError, match="net: one image does not fit into the memory of cpu"):
        Halving(4, "net").run(Memory(0).double, torch.arange(3))
