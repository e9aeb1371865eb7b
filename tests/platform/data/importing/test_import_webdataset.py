"""Importing WebDataset tars."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mimlab.data import pieces as piece_limits
from mimlab.data.importing import import_data
from mimlab.data.inspection import inspect
from mimlab.data.sources import list_source
from mimlab.errors import UserError

Files = Iterable[tuple[str, bytes]]


def write_tar(path: Path, files: Files, *, kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode, format=kind) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def samples(encode: Callable, numbers: Iterable[int]) -> Files:
    """A picture and its class for each number, which is its key."""
    for number in numbers:
        yield f"{number:04d}.png", encode(number)
        yield f"{number:04d}.cls", str(number % 3).encode()


def as_json(**content: object) -> bytes:
    return json.dumps(content).encode()


def refusal(source: Path, splits: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        list_source(source, splits)
    return str(caught.value)


def test_a_sample_is_what_shares_a_name_up_to_the_first_dot(
    tmp_path: Path, encode: Callable, listed: Callable
) -> None:
    files = [
        ("a/0001.PNG", encode(1)),
        ("a/0001.seg.png", encode(2)),
        ("a/0001.cls", b"2\n"),
        ("b/0001.webp", encode(3, kind="WEBP")),
        ("b/0001.jpg", encode(4, kind="JPEG")),
        ("b/0001.txt", b"a bee"),
        (".hidden.png", encode(5)),
    ]
    tar = write_tar(tmp_path / "x.tar", files)
    assert listed(tar) == {"train": {"x.tar/a/0001.PNG": 2, "x.tar/b/0001.jpg": None}}
    assert list_source(tar).ignored == 3


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tgz"])
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_bytes_are_those_that_went_in(
    tmp_path: Path, encode: Callable, name: str, kind: int
) -> None:
    long = "a" * 90 + "/" + "b" * 90  # beyond the field of the header
    files = {f"{long}/{i}.png": encode(i) for i in range(20)}
    tar = write_tar(tmp_path / name, files.items(), kind=kind)
    read = {row.name: row.data for piece in list_source(tar).pieces for row in piece.read()}
    assert read == {f"{name}/{file}": content for file, content in files.items()}


def test_labels_come_from_cls_or_json(tmp_path: Path, encode: Callable, listed: Callable) -> None:
    labels = {
        "cls": [("cls", b" 3 ")],
        "both": [("json", as_json(label=1)), ("cls", b"0")],
        "label": [("json", as_json(label=4, other=[1]))],
        "class": [("json", as_json(**{"class": 2}))],
        "unknown": [("cls", b"-1")],
        "none": [("json", as_json(caption="a bee"))],
    }
    files = [
        (f"{key}.{extension}", content)
        for key, contents in labels.items()
        for extension, content in [("png", encode()), *contents]
    ]
    tar = write_tar(tmp_path / "x.tar", files)
    assert list(listed(tar)["train"].values()) == [3, 0, 4, 2, None, None]
    assert list_source(tar).classes == []


def tar_of(path: Path, encode: Callable, *contents: dict[str, object]) -> Path:
    """A tar of a sample for each content of its `json`."""
    files = [
        file
        for number, content in enumerate(contents)
        for file in ((f"{number}.png", encode(number)), (f"{number}.json", as_json(**content)))
    ]
    return write_tar(path, files)


def test_names_without_numbers_are_numbered_in_sorted_order(
    tmp_path: Path, encode: Callable, listed: Callable
) -> None:
    tar_of(tmp_path / "train-0.tar", encode, {"label": "cat"}, {"label": "ant"})
    tar_of(tmp_path / "test-0.tar", encode, {"class": "bee"}, {})
    assert list_source(tmp_path).classes == ["ant", "bee", "cat"]
    labels = {split: list(rows.values()) for split, rows in listed(tmp_path).items()}
    assert labels == {"train": [2, 0], "test": [1, None]}


def test_a_number_and_a_name_belong_together(
    tmp_path: Path, encode: Callable, listed: Callable
) -> None:
    bee, dog = {"label": 1, "class": "bee"}, {"label": 3, "class": "dog"}
    tar = tar_of(tmp_path / "x.tar", encode, dog, bee, {"class": "dog"}, {"label": 0})
    assert list_source(tar).classes == ["0", "bee", "2", "dog"]
    assert list(listed(tar)["train"].values()) == [3, 1, 3, 0]


def test_names_in_classes_txt_count(tmp_path: Path, encode: Callable, listed: Callable) -> None:
    (tmp_path / "classes.txt").write_text("dog\nbee\n")
    tar_of(tmp_path / "x.tar", encode, {"label": 0}, {"class": "bee"})
    assert list_source(tmp_path).classes == ["dog", "bee"]
    assert list(listed(tmp_path)["train"].values()) == [0, 1]


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ([{"label": 0}, {"label": "ant"}], "1.png: class 'ant' has no number"),
        (
            [{"label": 0, "class": "ant"}, {"label": 0, "class": "bee"}],
            "1.png: class 0 is called 'bee', elsewhere 'ant'",
        ),
        (
            [{"label": 0, "class": "ant"}, {"label": 1, "class": "ant"}],
            "classes 0 and 1 are both called 'ant'",
        ),
        ([{"label": [1, 2]}], r"0.json: 'label' is [1, 2]; expected a class number or name"),
        ([{"label": 2**40}], "0.json: 'label': 1099511627776 is no class number"),
    ],
)
def test_labels_that_contradict_each_other_are_refused(
    tmp_path: Path, encode: Callable, contents: list[dict[str, object]], reason: str
) -> None:
    assert reason in refusal(tar_of(tmp_path / "x.tar", encode, *contents))


@pytest.mark.parametrize(
    ("extension", "content", "reason"),
    [
        ("cls", b"cat", "0.cls: 'cat'; expected a class number as text"),
        ("cls", b"\xff", "0.cls: '\ufffd'; expected a class number as text"),
        ("json", b"{", "0.json: not JSON"),
    ],
)
def test_labels_that_are_none_are_named(
    tmp_path: Path, encode: Callable, extension: str, content: bytes, reason: str
) -> None:
    files = [("0.png", encode()), (f"0.{extension}", content)]
    assert reason in refusal(write_tar(tmp_path / "x.tar", files))


def test_splits_come_from_names_folders_or_options(tmp_path: Path, encode: Callable) -> None:
    write_tar(tmp_path / "a" / "birds-train-000.tar", samples(encode, range(3)))
    write_tar(tmp_path / "a" / "birds-train-001.tar.gz", samples(encode, range(3, 5)))
    write_tar(tmp_path / "a" / "birds-val-000.tar", samples(encode, range(2)))
    write_tar(tmp_path / "b" / "000.tar", samples(encode, range(2)))

    def rows(source: Path, splits: dict[str, str] | None = None) -> list[tuple[str, int]]:
        return [(split.name, split.rows) for split in list_source(source, splits).splits]

    assert rows(tmp_path / "a") == [("train", 5), ("val", 2)]
    assert rows(tmp_path / "b") == [("train", 2)]
    assert rows(tmp_path, {"train": "a/*-train-*", "rest": "b"}) == [("train", 5), ("rest", 2)]
    assert "no tar file matches 'c', given for split x" in refusal(tmp_path, {"x": "c"})
    assert "cannot tell the split of b/000.tar" in refusal(tmp_path)


def test_work_is_cut_inside_a_tar_but_not_inside_a_compressed_one(
    tmp_path: Path, encode: Callable, monkeypatch: pytest.MonkeyPatch, listed: Callable
) -> None:
    write_tar(tmp_path / "0.tar", samples(encode, range(10)))
    write_tar(tmp_path / "1.tar.gz", samples(encode, range(10)))
    whole = listed(tmp_path)
    monkeypatch.setattr(piece_limits, "PIECE_FILES", 4)
    pieces = list_source(tmp_path).pieces
    bounds = [(piece.first_row, piece.rows) for piece in pieces]
    assert bounds == [(0, 4), (4, 4), (8, 2), (10, 10)]
    assert listed(tmp_path) == whole


def test_tars_without_labels_import_with_null(
    ray_local: None, tmp_path: Path, encode: Callable, read_rows: Callable
) -> None:
    write_tar(tmp_path / "in" / "0.tar", [(f"{i}.jpg", encode(i, kind="JPEG")) for i in range(9)])
    data = import_data(tmp_path / "in", tmp_path / "out")
    assert data.classes == []
    assert read_rows(data.root, "train")["label"].to_pylist() == [None] * 9
    names = read_rows(data.root, "train")["name"].to_pylist()
    assert sorted(names) == [f"{i}.jpg" for i in range(9)]


def test_tars_give_the_data_set_that_their_files_would(
    ray_local: None, tmp_path: Path, encode: Callable, write_parquet: Callable
) -> None:
    numbers = range(60)
    images, labels = [encode(i) for i in numbers], [i % 3 for i in numbers]
    write_parquet(tmp_path / "parquet" / "train-0.parquet", images, labels)
    write_tar(tmp_path / "tars" / "train-0.tar", samples(encode, numbers[:25]))
    write_tar(tmp_path / "tars" / "train-1.tar.gz", samples(encode, numbers[25:]))
    from_tars = import_data(tmp_path / "tars", tmp_path / "a", seed=3)
    from_parquet = import_data(tmp_path / "parquet", tmp_path / "b", seed=3)
    assert from_tars.fingerprint == from_parquet.fingerprint
    assert inspect(tmp_path / "a", verify=True).splits[0].classes == {"0": 20, "1": 20, "2": 20}


def test_a_bad_image_in_a_tar_is_rejected_by_its_name(
    ray_local: None, tmp_path: Path, encode: Callable
) -> None:
    files = [("a.png", encode()), ("b.png", b"<html>"), ("c.png", b"")]
    tar = write_tar(tmp_path / "x.tar", files)
    with pytest.raises(UserError) as caught:
        import_data(tar, tmp_path / "out")
    assert "1 × not an image: x.tar/b.png" in str(caught.value)
    assert "1 × empty: x.tar/c.png" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_tar_cut_anywhere_is_refused(tmp_path: Path, encode: Callable, name: str) -> None:
    tar = write_tar(tmp_path / name, samples(encode, range(4)))
    content = tar.read_bytes()
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
    edges = [entry.offset for entry in members[1:]] + [members[-1].offset_data + 512]
    cuts = edges if name == "x.tar" else []  # also where no file is cut, only the end is missing
    for size in [1, 100, len(content) // 3, len(content) // 2, *cuts]:
        tar.write_bytes(content[:size])
        message = refusal(tmp_path)
        assert name in message
        assert "fetch it again" in message


def test_a_tar_damaged_in_the_middle_is_refused(tmp_path: Path, encode: Callable) -> None:
    tar = write_tar(tmp_path / "x.tar", samples(encode, range(4)))
    with tarfile.open(tar) as archive:
        third = archive.getmembers()[2].offset
    content = bytearray(tar.read_bytes())
    content[third : third + 512] = b"\x01" * 512
    tar.write_bytes(content)
    assert f"x.tar: not a whole tar (cut short or damaged at byte {third})" in refusal(tar)


def test_what_is_no_tar_or_holds_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "page.tar").write_text("<html>not found</html>" * 100)
    assert "page.tar: not a whole tar" in refusal(tmp_path / "page.tar")
    (tmp_path / "nothing.tar").touch()
    assert "nothing.tar: not a whole tar (empty file)" in refusal(tmp_path / "nothing.tar")
    (tmp_path / "page.tar.gz").write_text("<html>not found</html>")
    assert "page.tar.gz: cannot be read (Not a gzipped file" in refusal(tmp_path / "page.tar.gz")
    empty = write_tar(tmp_path / "empty.tar", [])
    assert "empty.tar: no images; the tar holds no files" in refusal(empty)
    text = write_tar(tmp_path / "text.tar", [("0.txt", b"a"), ("1.txt", b"b"), ("1.cls", b"0")])
    assert "text.tar: no images; the tar holds 2 × .txt, 1 × .cls" in refusal(text)


def test_a_key_that_comes_twice_is_refused(tmp_path: Path, encode: Callable) -> None:
    apart = [("a.png", encode()), ("b.png", encode()), ("a.cls", b"0")]
    assert "key 'a' comes twice" in refusal(write_tar(tmp_path / "x.tar", apart))
    twins = [("a.png", encode(0)), ("a.png", encode(1))]
    assert "key 'a' has two files .png" in refusal(write_tar(tmp_path / "y.tar", twins))


def test_tars_beside_image_files_are_refused(tmp_path: Path, encode: Callable) -> None:
    write_tar(tmp_path / "x.tar", samples(encode, range(2)))
    (tmp_path / "a.png").write_bytes(encode())
    assert "image files (a.png) and tars (x.tar)" in refusal(tmp_path)


def test_a_tar_that_changes_meanwhile_stops_the_import(tmp_path: Path, encode: Callable) -> None:
    tar = write_tar(tmp_path / "x.tar", samples(encode, range(4)))
    [piece] = list_source(tar).pieces
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(UserError, match=r"x\.tar: changed while it was imported"):
        list(piece.read())


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_tar_is_never_in_memory_as_a_whole(tmp_path: Path, name: str) -> None:
    noise = bytes(range(256)) * 4096  # 1 MiB
    tar = write_tar(tmp_path / name, ((f"{i}.png", noise) for i in range(32)))
    tracemalloc.start()
    try:
        rows = sum(len(row.data or b"") for p in list_source(tar).pieces for row in p.read())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 32 << 20
    assert peak < 6 << 20
