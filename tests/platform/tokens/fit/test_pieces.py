"""Pieces hold the first images of a split, each once, in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.tokens.pieces import pieces_of, runs_of


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


@given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 20))
def test_runs_take_every_row_group_once_and_as_many_as_fit(row_groups, rows):
    runs = list(runs_of(row_groups, rows))
    assert [group for run in runs for group in run] == list(range(len(row_groups)))
    for run in runs:
        held = sum(row_groups[run.start : run.stop])
        assert held <= rows or len(run) == 1
        assert run.stop == len(row_groups) or held + row_groups[run.stop] > rows
