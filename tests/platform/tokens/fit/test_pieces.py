"""Pieces hold the first images of a split, each once, in order."""

from __future__ import annotations

import numpy as np
import pytest

from mimlab.tokens.pieces import pieces_of


@pytest.mark.parametrize("rows", [1, 12, 1000])
@pytest.mark.parametrize("images", [1, 12, 31, 60])
def test_every_image_is_in_one_piece(coloured, images, rows):
    pieces = list(pieces_of(coloured.split("train"), images, rows))
    tables = [piece.read(str(coloured.root)) for piece in pieces]
    ids = np.concatenate([table["id"].to_numpy() for table in tables])
    assert ids.tolist() == list(range(images))
    firsts = np.cumsum([0] + [piece.rows for piece in pieces])[:-1]
    assert [piece.first_row for piece in pieces] == firsts.tolist()
    assert len({piece.name for piece in pieces}) == len(pieces)
