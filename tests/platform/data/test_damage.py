"""A bit that flips in a shard is one clear line, or changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.data.damage import damage_told
from mimlab.data.reader import IMAGE_COLUMNS, ColumnSource, GroupPlace
from mimlab.data.shards import table_of, write_shard
from mimlab.errors import UserError

ROWS = 12


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    images = [random.bytes(40) for _ in range(ROWS)]
    path = tmp_path_factory.mktemp("shards") / "train.parquet"
    write_shard(path, table_of(images, list(range(ROWS)), [(8, 8)] * ROWS), first_id=0)
    return path


def read(path: Path) -> pa.Table:
    return ColumnSource(str(path.parent), IMAGE_COLUMNS).read([GroupPlace(path.name, 0)])


def footer_start(content: bytes) -> int:
    """Parquet ends with the footer, its length in four bytes, and `PAR1`."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


@given(data=st.data())
def test_a_flipped_bit_of_a_page_is_told_or_changes_nothing(shard: Path, data: st.DataObject):
    sound, expected = shard.read_bytes(), read(shard)
    place = data.draw(st.integers(4, footer_start(sound) - 1))
    flipped = bytearray(sound)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    damaged = shard.with_name("damaged.parquet")
    damaged.write_bytes(flipped)
    try:
        found = read(damaged)
    except UserError as error:
        assert str(error).startswith(f"{damaged}: row group 0 is damaged (")
        assert "restore the file, or import the data again" in str(error)
        assert str(error).count("\n") == 0
    else:
        assert found.equals(expected)


def test_a_flipped_bit_of_an_image_is_found_by_the_checksum_of_its_page(shard: Path) -> None:
    image = read(shard)["image"][5].as_py()
    content = bytearray(shard.read_bytes())
    content[content.index(image) + 20] ^= 1
    damaged = shard.with_name("image.parquet")
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=r"row group 0 is damaged .*CRC checksum verification"):
        read(damaged)


def test_shards_without_checksums_are_read_as_before(shard: Path) -> None:
    older = shard.with_name("older.parquet")
    pq.write_table(pq.read_table(shard), older)
    assert read(older).equals(read(shard))


def test_a_cut_file_is_damaged_in_its_footer(shard: Path) -> None:
    cut = shard.with_name("cut.parquet")
    cut.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut\.parquet: its footer is damaged"):
        read(cut)


def test_what_a_failing_disk_says_is_no_damage(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="Input/output error"),
        damage_told(tmp_path / "train.parquet", "row group 0", "no remedy"),
    ):
        raise OSError(5, "Input/output error")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.parquet")
