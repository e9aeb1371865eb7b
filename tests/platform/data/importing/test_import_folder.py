"""Importing folders of image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.data import pieces as piece_limits
from mimlab.data.importing import import_data
from mimlab.data.sources import list_source
from mimlab.errors import UserError


def test_class_folders_are_labels_in_sorted_order(
    tmp_path: Path, class_folders: Callable, listed: Callable
) -> None:
    class_folders(tmp_path, ["bee", "ant"], 2)
    assert list_source(tmp_path).classes == ["ant", "bee"]
    assert listed(tmp_path) == {
        "train": {"ant/0000.png": 0, "ant/0001.png": 0, "bee/0000.png": 1, "bee/0001.png": 1}
    }


def test_split_folders_over_class_folders_share_their_classes(
    tmp_path: Path, class_folders: Callable, listed: Callable
) -> None:
    class_folders(tmp_path / "train", ["ant", "bee"], 1)
    class_folders(tmp_path / "val", ["bee"], 1)
    assert list_source(tmp_path).classes == ["ant", "bee"]
    assert listed(tmp_path) == {
        "train": {"train/ant/0000.png": 0, "train/bee/0000.png": 1},
        "val": {"val/bee/0000.png": 1},
    }


def test_a_flat_folder_has_no_labels(tmp_path: Path, encode: Callable, listed: Callable) -> None:
    (tmp_path / "a.PNG").write_bytes(encode())
    assert listed(tmp_path) == {"train": {"a.PNG": None}}
    assert list_source(tmp_path).classes == []


def test_an_unlabelled_test_split_beside_a_labelled_one(
    tmp_path: Path, class_folders: Callable, encode: Callable, listed: Callable
) -> None:
    class_folders(tmp_path / "train", ["ant"], 1)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.jpeg").write_bytes(encode(kind="JPEG"))
    assert listed(tmp_path)["test"] == {"test/a.jpeg": None}


def test_what_lies_deeper_belongs_to_its_class(
    tmp_path: Path, encode: Callable, listed: Callable
) -> None:
    (tmp_path / "ant" / "red" / "large").mkdir(parents=True)
    (tmp_path / "ant" / "red" / "large" / "a.png").write_bytes(encode())
    assert listed(tmp_path) == {"train": {"ant/red/large/a.png": 0}}


def test_other_and_hidden_files_are_counted_and_ignored(
    tmp_path: Path, class_folders: Callable, encode: Callable, listed: Callable
) -> None:
    class_folders(tmp_path, ["ant"], 2)
    (tmp_path / "classes.txt").write_text("ant")
    (tmp_path / "ant" / ".0000.png").write_bytes(encode())
    (tmp_path / "ant" / "notes").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.png").write_bytes(encode())
    assert len(listed(tmp_path)["train"]) == 2
    assert list_source(tmp_path).ignored == 3


def test_links_are_followed_but_not_in_circles(
    tmp_path: Path, class_folders: Callable, listed: Callable
) -> None:
    class_folders(tmp_path / "elsewhere", ["ant"], 2)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "ant").symlink_to(tmp_path / "elsewhere" / "ant")
    assert len(listed(tmp_path / "source")["train"]) == 2
    (tmp_path / "elsewhere" / "ant" / "up").symlink_to(tmp_path / "source")
    with pytest.raises(UserError, match="a link to a folder that contains it"):
        list_source(tmp_path / "source")


def test_work_is_cut_into_pieces_of_bounded_size(
    tmp_path: Path, class_folders: Callable, monkeypatch: pytest.MonkeyPatch, listed: Callable
) -> None:
    class_folders(tmp_path, ["ant", "bee"], 10)
    whole = listed(tmp_path)
    monkeypatch.setattr(piece_limits, "PIECE_FILES", 7)
    pieces = list_source(tmp_path).pieces
    assert [(piece.first_row, piece.rows) for piece in pieces] == [(0, 7), (7, 7), (14, 6)]
    assert listed(tmp_path) == whole
    monkeypatch.setattr(piece_limits, "PIECE_BYTES", 1000)
    assert max(piece.rows for piece in list_source(tmp_path).pieces) <= 3
    assert listed(tmp_path) == whole


def refusal(source: Path, splits: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        list_source(source, splits)
    return str(caught.value)


def test_sources_that_are_none_say_why(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith("nowhere: no such file or folder")
    assert "no images; it holds no files" in refusal(tmp_path)
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text("text")
    assert "no images; it holds 3 other files, such as 0.txt" in refusal(tmp_path)
    assert "expected a folder of images, or Parquet" in refusal(tmp_path / "0.txt")


def test_images_beside_class_folders_are_refused(
    tmp_path: Path, class_folders: Callable, encode: Callable
) -> None:
    class_folders(tmp_path, ["ant"], 1)
    (tmp_path / "stray.png").write_bytes(encode())
    assert "stray.png lies beside class folders" in refusal(tmp_path)


def test_a_class_that_is_called_train_must_be_meant(
    tmp_path: Path, class_folders: Callable
) -> None:
    class_folders(tmp_path, ["car", "train"], 1)
    assert "named like splits, but also in car" in refusal(tmp_path)
    found = list_source(tmp_path, {"train": "."})
    assert found.classes == ["car", "train"]


def test_splits_can_be_said(tmp_path: Path, class_folders: Callable) -> None:
    class_folders(tmp_path / "part1", ["ant"], 2)
    class_folders(tmp_path / "part2", ["ant"], 1, first=2)
    found = list_source(tmp_path, {"holdout": "part2/", "train": "part1"})
    assert [(split.name, split.rows) for split in found.splits] == [("train", 2), ("holdout", 1)]
    assert "no images for split test" in refusal(tmp_path, {"test": "part3"})


def test_images_of_every_kind_arrive_as_the_contract_says(
    ray_local: None, tmp_path: Path, encode: Callable, read_rows: Callable
) -> None:
    (tmp_path / "in" / "ant").mkdir(parents=True)
    kinds = {
        "grey.jpg": encode(1, mode="L", kind="JPEG"),
        "plain.png": encode(2),
        "palette.png": encode(3, mode="P"),
        "print.jpg": encode(4, mode="CMYK", kind="JPEG"),
        "web.webp": encode(5, kind="WEBP", lossless=True),
    }
    for name, content in kinds.items():
        (tmp_path / "in" / "ant" / name).write_bytes(content)
    data = import_data(tmp_path / "in", tmp_path / "out")
    rows = read_rows(data.root, "train")
    images = rows["image"].to_pylist()
    names = dict(zip(rows["name"].to_pylist(), images, strict=True))
    assert names.keys() == {f"ant/{name}" for name in kinds}
    assert names["ant/grey.jpg"] == kinds["grey.jpg"]
    assert kinds["grey.jpg"] in images
    assert kinds["plain.png"] in images
    assert data.manifest.converted == {"CMYK": 1, "WEBP": 1, "palette": 1}
    assert data.manifest.rejects == 0
    assert (data.manifest.width.median, data.manifest.height.median) == (12, 10)
