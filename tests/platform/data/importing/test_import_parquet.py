"""Importing what Hugging Face publishes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimlab.data.importing import import_data
from mimlab.data.sources import list_source
from mimlab.errors import UserError


def test_splits_labels_and_class_names_arrive(
    ray_local: None, tmp_path: Path, encode: Callable, write_parquet: Callable, read_rows: Callable
) -> None:
    images = [encode(i) for i in range(150)]
    source = tmp_path / "data"
    for part in range(2):
        write_parquet(
            source / f"train-{part:05d}-of-00002.parquet",
            images[part * 60 : part * 60 + 60],
            [i % 3 for i in range(60)],
            names=["ant", "bee", "cat"],
        )
    write_parquet(
        source / "test-00000-of-00001.parquet",
        images[120:],
        [-1] * 30,
        names=["ant", "bee", "cat"],
    )
    steps = []
    data = import_data(tmp_path, tmp_path / "out", on_progress=lambda *step: steps.append(step))
    assert data.classes == ["ant", "bee", "cat"]
    assert list(data.splits) == ["train", "test"]
    train, test = read_rows(data.root, "train"), read_rows(data.root, "test")
    label_of = {images[i]: i % 60 % 3 for i in range(120)}
    assert (
        dict(zip(train["image"].to_pylist(), train["label"].to_pylist(), strict=True)) == label_of
    )
    assert set(test["image"].to_pylist()) == set(images[120:])
    names = {f"{i}.png": images[120 + i] for i in range(30)}  # the `path` of each image
    assert dict(zip(test["name"].to_pylist(), test["image"].to_pylist(), strict=True)) == names
    assert set(test["label"].to_pylist()) == {None}
    assert test["id"].to_pylist() == list(range(120, 150))
    assert data.split("test").first_id == 120
    assert steps[-1] == (300, 300)
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"], ["train", "test"]),
        (["data/train-00000-of-00001-a1b2.parquet", "data/val.parquet"], ["train", "val"]),
        (["default/test/0000.parquet", "default/train/0000.parquet"], ["train", "test"]),
        (["unsupervised-00000-of-00001.parquet", "train_0.parquet"], ["train", "unsupervised"]),
        (["testimony.parquet"], ["train"]),
        (["a.parquet", "b.parquet"], ["train"]),
        (["training.parquet", "validation.parquet", "testing.parquet"], None),
    ],
)
def test_splits_come_from_names_as_hugging_face_writes_them(
    tmp_path: Path,
    encode: Callable,
    write_parquet: Callable,
    files: list[str],
    splits: list[str] | None,
) -> None:
    for file in files:
        write_parquet(tmp_path / file, [encode()], [0])
    expected = splits or ["training", "validation", "testing"]
    assert [split.name for split in list_source(tmp_path).splits] == expected


def test_splits_can_be_said(tmp_path: Path, encode: Callable, write_parquet: Callable) -> None:
    for i, name in enumerate(["a", "b", "c"]):
        write_parquet(tmp_path / f"{name}.parquet", [encode()] * (i + 1), [0] * (i + 1))
    found = list_source(tmp_path, {"test": "c.parquet", "train": "[ab].parquet"})
    assert [(split.name, split.rows) for split in found.splits] == [("train", 3), ("test", 3)]
    with pytest.raises(UserError, match="no Parquet file matches 'x"):
        list_source(tmp_path, {"train": "x*.parquet"})


@pytest.mark.parametrize("column", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
def test_columns_go_by_their_usual_names(
    tmp_path: Path, encode: Callable, write_parquet: Callable, column: str, label: str
) -> None:
    write_parquet(tmp_path / "a.parquet", [encode()], [7], columns=(column, label))
    [piece] = list_source(tmp_path / "a.parquet").pieces
    assert [row.label for row in piece.read()] == [7]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_no_labels_are_taken(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"image": pa.array([b"abc"], kind)}), tmp_path / "a.parquet")
    [piece] = list_source(tmp_path).pieces
    assert [row[1:3] for row in piece.read()] == [(b"abc", None)]


def test_class_names_may_lie_beside(
    tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    write_parquet(tmp_path / "a.parquet", [encode()], [0])
    assert list_source(tmp_path).classes == []
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    assert list_source(tmp_path).classes == ["ant", "bee"]


def test_without_names_classes_are_numbers(
    ray_local: None, tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    write_parquet(tmp_path / "a.parquet", [encode(), encode(1)], [0, 2])
    assert import_data(tmp_path, tmp_path / "out").classes == ["0", "1", "2"]


def test_a_label_beyond_the_names_is_refused(
    ray_local: None, tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", [encode()], [2], names=["ant", "bee"])
    with pytest.raises(UserError, match="label 2 has no name: the source names 2 classes"):
        import_data(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_label_that_is_a_hash_stops_the_import(
    ray_local: None, tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", [encode()], [2**40])
    with pytest.raises(UserError, match=r"a\.parquet row group 0 row 0.*no class number"):
        import_data(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def refusal(source: Path) -> str:
    with pytest.raises(UserError) as caught:
        list_source(source)
    return str(caught.value)


def test_a_file_cut_in_half_is_named(
    tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    file = tmp_path / "train-00000-of-00001.parquet"
    write_parquet(file, [encode(i) for i in range(20)], [0] * 20)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "train-00000-of-00001.parquet: not a whole Parquet file" in refusal(tmp_path)


def test_a_table_without_images_is_told_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "image": [1]}), tmp_path / "a.parquet")
    assert "found text: string, image: int64" in refusal(tmp_path)


def test_labels_that_are_words_are_refused(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([b"a"], pa.binary()), "label": ["cat"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert "column 'label' is string; expected whole class numbers" in refusal(tmp_path)


def test_names_that_contradict_each_other_are_refused(
    tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    write_parquet(tmp_path / "train.parquet", [encode()], [0], names=["ant", "bee"])
    write_parquet(tmp_path / "test.parquet", [encode()], [0], names=["bee", "ant"])
    assert "its class names differ" in refusal(tmp_path)


def test_a_file_of_no_known_split_beside_others_is_refused(
    tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    write_parquet(tmp_path / "train.parquet", [encode()], [0])
    write_parquet(tmp_path / "extra.parquet", [encode()], [0])
    assert "cannot tell the split of extra.parquet" in refusal(tmp_path)


def test_two_configurations_are_not_mixed(
    tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    for name in ("raw", "cropped"):
        write_parquet(tmp_path / name / "train-00000-of-00001.parquet", [encode()], [0])
    assert "files of split train lie in cropped, raw" in refusal(tmp_path)
