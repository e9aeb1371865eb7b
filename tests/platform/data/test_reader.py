from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.data.reader import ColumnSource, NeededRows, images_of, iter_rows, read_rows


@pytest.mark.parametrize("rows", [[0], [29, 3, 3, 17, 0], list(range(30)), list(range(29, -1, -1))])
def test_rows_come_as_asked_whatever_files_they_are_in(split_of, pictures, rows):
    table = read_rows(split_of(pictures[:30]), np.array(rows))
    assert table["id"].to_pylist() == rows
    assert table["image"].to_pylist() == [pictures[row] for row in rows]


def test_rows_come_in_portions(split_of, pictures):
    parts = list(iter_rows(split_of(pictures[:30]), np.arange(25), 10))
    assert [part["id"].to_pylist() for part in parts] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]


def test_columns_that_lie_beside_the_shards_are_read_with_them(split_of, pictures, tmp_path):
    split = split_of(pictures[:30])
    beside = tmp_path / "codes"
    beside.mkdir()
    for shard in split.shards:
        ids = pq.read_table(shard.path, columns=["id"])["id"].to_numpy()
        codes = pa.array([[number, number + 1] for number in ids], pa.list_(pa.int16(), 2))
        pq.write_table(pa.table({"codes": codes}), beside / shard.path.name, row_group_size=4)
    rows = np.array([21, 4, 13])
    table = read_rows(split, rows, [images_of(split), ColumnSource(str(beside), ("codes",))])
    assert table["codes"].to_pylist() == [[21, 22], [4, 5], [13, 14]]
    assert table["id"].to_pylist() == [21, 4, 13]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20).flatmap(
        lambda groups: st.tuples(
            st.just(groups), st.lists(st.integers(0, sum(groups) - 1), min_size=1, max_size=30)
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_only_the_row_groups_in_question_are_read(case):
    counts, rows = (np.array(numbers, np.int64) for numbers in case)
    pieces = np.split(np.arange(counts.sum()), np.cumsum(counts)[:-1])
    needed = NeededRows.of(counts, rows)
    assert (np.concatenate([pieces[g] for g in needed.groups])[needed.positions] == rows).all()
    assert all(np.isin(pieces[group], rows).any() for group in needed.groups)
