"""A store is taken only for the images and the encoder that it was made of, and only whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimlab.data import shards
from mimlab.data.fingerprint import file_sha256
from mimlab.data.manifest import DataSet
from mimlab.data.reader import images_of, read_rows
from mimlab.data.sidecar import SidecarManifest, fingerprint_of
from mimlab.errors import UserError
from mimlab.tokens.packing import packed, type_of_codes, unpacked
from mimlab.tokens.store import TokenStore

SHARD = "train-00001-of-00003.parquet"


@pytest.fixture
def root(data: DataSet, seen, tmp_path: Path) -> Path:
    """A store of the training images."""
    seen().encode(data, tmp_path / "store")
    return tmp_path / "store"


def change_manifest(root: Path, change: Callable[[dict], None]) -> None:
    file = root / "sidecar.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_store_opens_beside_its_images_and_reads_as_written(data, root, seen, tmp_path):
    store = TokenStore.open(root, data, verify=True)
    assert (store.kind, store.dtype, store.shape) == ("codes", "uint16", (8,))
    assert (store.views.count, store.encoder.width, list(store.splits)) == (3, 4096, ["train"])
    patches = store.patches()
    assert patches is not None and patches.shape == (4096, 384)
    assert seen("features").encode(data, tmp_path / "f").patches() is not None


def test_a_view_is_read_with_the_row_group_of_its_images(data, root):
    store, split = TokenStore.open(root, data), data.split("train")
    rows = np.array([29, 3, 17])
    table = read_rows(split, rows, [images_of(split), store.source("tokens", 2)])
    codes = unpacked(table["tokens.view_2"], store.dtype, store.shape)
    groups = list(store.rows())
    every = np.concatenate([group.views[2] for group in groups])
    assert table["id"].to_pylist() == rows.tolist()
    np.testing.assert_array_equal(codes, every[rows])


def test_the_shards_may_lie_in_any_order_on_disk(data, root, tmp_path):
    """Files are found by their names: copied backwards, everything meets its own."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(root.iterdir(), reverse=True):
        shutil.copy(path, copy)
    assert TokenStore.open(copy, data, verify=True).fingerprint


def test_other_images_are_refused_by_name(root, named_data, tmp_path):
    other = named_data(tmp_path / "other", {"train": {"a.png": np.zeros((8, 8, 3), np.uint8)}})
    with pytest.raises(UserError, match=rf"store: made for the images .* that of {other.root}"):
        TokenStore.open(root, other)


def test_other_row_groups_of_the_same_images_are_refused(
    data, root, named_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(shards, "ROW_GROUP_ROWS", 12)
    images = {
        name: {f"{i}": picture for i, picture in enumerate(pictures_of(data, name))}
        for name in data.splits
    }
    other = named_data(tmp_path / "other", images)
    with pytest.raises(UserError, match=r"in other shards; encode them again with `mimlab tokens"):
        TokenStore.open(root, DataSet(other.root, other.manifest.model_copy(update={
            "fingerprint": data.fingerprint})))  # fmt: skip


def pictures_of(data: DataSet, split: str) -> list[np.ndarray]:
    count = data.split(split).num_rows
    return [np.full((8, 8, 3), number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("change", ["missing", "truncated", "exchanged"])
def test_a_damaged_shard_is_named(data, root, change):
    path = root / SHARD
    if change == "missing":
        path.unlink()
    elif change == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        shutil.copy(root / "train-00002-of-00003.parquet", path)
    with pytest.raises(UserError, match=rf"{SHARD}: .*encode it again"):
        TokenStore.open(root, data)


def test_changed_codes_are_found_by_verifying(data, root):
    content = bytearray((root / SHARD).read_bytes())
    content[200] ^= 1
    (root / SHARD).write_bytes(content)
    with pytest.raises(UserError, match=rf"{SHARD}: its content is not what sidecar.json says"):
        TokenStore.open(root, data, verify=True)


def test_a_flipped_bit_of_a_code_is_found_by_reading(data, root):
    """By the page's checksum, so that no code is silently another one."""
    store, path = TokenStore.open(root, data), root / SHARD
    code = pq.read_table(path)["view_0"][0].as_py()
    content = bytearray(path.read_bytes())
    content[content.index(code)] ^= 1
    path.write_bytes(content)
    rows = np.arange(data.split("train").num_rows)
    with pytest.raises(UserError, match=rf"{SHARD}: row group 0"):
        read_rows(data.split("train"), rows, [images_of(data.split("train")), store.source("t", 0)])


def test_codes_beyond_the_vocabulary_are_found_by_verifying(data, root):
    """The widest code of the store is beyond a smaller vocabulary than it was made with."""
    store = TokenStore.open(root, data)
    highest = max(int(view.max()) for rows in store.rows() for view in rows.views)
    set_vocabulary(root, highest)
    with pytest.raises(UserError, match=rf"codes outside of the vocabulary of {highest}"):
        TokenStore.open(root, data, verify=True)


def set_vocabulary(root: Path, width: int) -> None:
    """Say another one, in a manifest that agrees with itself."""
    manifest = SidecarManifest.model_validate_json((root / "sidecar.json").read_bytes())
    assert manifest.encoder is not None
    encoder = manifest.encoder.model_copy(update={"width": width})
    fingerprint = fingerprint_of(manifest.splits, manifest.views, encoder)
    changed = manifest.model_copy(update={"encoder": encoder, "fingerprint": fingerprint})
    (root / "sidecar.json").write_text(changed.model_dump_json())


def test_another_codebook_is_refused(data, root, seen):
    shutil.copy(seen(offset=1).folder / "encoder.safetensors", root)
    with pytest.raises(UserError, match="another codebook under old codes"):
        TokenStore.open(root, data)


def test_a_store_without_its_encoder_is_refused(data, root):
    (root / "encoder.json").unlink()
    with pytest.raises(UserError, match=r"has no encoder\.json"):
        TokenStore.open(root, data)


def test_other_views_than_the_fingerprint_says_are_found_by_verifying(data, root):
    change_manifest(root, lambda content: content["views"].update(seed=6))
    with pytest.raises(UserError, match="do not give the fingerprint"):
        TokenStore.open(root, data, verify=True)


def test_maps_are_no_token_store(data, root):
    change_manifest(root, lambda content: content.update(kind="map", views=None, encoder=None))
    with pytest.raises(UserError, match=r"of kind map, not a token store; make one with"):
        TokenStore.open(root, None)


@pytest.mark.parametrize(
    ("width", "dtype"),
    [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")],
)
def test_codes_take_the_smallest_type_that_holds_them(width, dtype):
    assert type_of_codes(width) == dtype
    codes = np.array([[0, width - 1], [width - 1, 0]])
    np.testing.assert_array_equal(unpacked(packed(codes, dtype), dtype, (2,)), codes)


def test_columns_of_another_shape_are_refused():
    column = packed(np.zeros((3, 4), np.int64), "uint8")
    with pytest.raises(ValueError, match=r"fixed_size_binary\[4\], but uint16 of shape \(4,\)"):
        unpacked(column, "uint16", (4,))


def test_a_slice_of_a_column_is_unpacked_as_such():
    column = packed(np.arange(12).reshape(6, 2), "uint16")
    np.testing.assert_array_equal(unpacked(column.slice(2, 3), "uint16", (2,))[:, 0], [4, 6, 8])


def test_bytes_are_little_endian_and_uncompressed(data, root):
    file = pq.ParquetFile(root / SHARD)
    assert file.metadata.row_group(0).column(1).compression == "UNCOMPRESSED"
    first = file.read_row_group(0)["view_0"][0].as_py()
    store = TokenStore.open(root, data)
    second_shard = next(rows for rows in store.rows() if rows.ids[0] == 12)
    assert np.frombuffer(first, "<u2").tolist() == second_shard.views[0][0].tolist()
    assert file.schema_arrow.field("view_0").type == pa.binary(16)
    assert file_sha256(root / SHARD) == store.splits["train"].shards[1].sha256
