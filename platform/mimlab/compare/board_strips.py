"""Boards of several trials under one another: the same image stands in the same column."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from mimlab.compare.cells import Cell
from mimlab.compare.trials import TrialResult

QUALITY = 90
"""Of WebP: a board of 224 px images is 2 MB as PNG."""


@dataclass(frozen=True)
class Strip:
    """The board of one trial, without the input where that is shown above."""

    cell: Cell
    trial: TrialResult
    picture: str
    """A data URI."""


@dataclass(frozen=True)
class BoardGroup:
    """Trials whose boards show the same images at the same size."""

    inputs: str
    """A data URI."""
    strips: list[Strip]


def board_groups(cells: Sequence[Cell]) -> list[BoardGroup]:
    """The newest boards. A board is three strips: inputs, masked, predicted."""
    groups: dict[bytes, BoardGroup] = {}
    for cell in cells:
        for trial in cell.trials:
            board = _opened(trial)
            if board is None:
                continue
            third = board.height // 3
            inputs = board.crop((0, 0, board.width, third))
            rest = board.crop((0, third, board.width, board.height))
            key = inputs.tobytes()
            group = groups.setdefault(key, BoardGroup(_data_uri(inputs), []))
            group.strips.append(Strip(cell, trial, _data_uri(rest)))
    return list(groups.values())


def _opened(trial: TrialResult) -> Image.Image | None:
    """None where there is no board, or none that is a picture: the rest of a report needs none."""
    data = trial.board()
    if data is None:
        return None
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError):
        return None


def _data_uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
