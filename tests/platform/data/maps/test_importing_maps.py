"""Maps find their images by name, or are refused; what is published is whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimlab.cli.main import main
from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.map_pixels import decode_map
from mimlab.data.sidecar import MapKind, Sidecar
from mimlab.errors import UserError

SIZE = (10, 12)
"""(height, width)"""


def value_of(name: str) -> int:
    """What the map of an image holds everywhere: no other image's does."""
    return 1 + int(name.removesuffix(".png")[-3:]) % 200


@pytest.fixture
def data(tmp_path: Path, named_data: Callable[..., DataSet]) -> DataSet:
    """30 and 7 images of two splits; a shard has 12 rows."""
    rng = np.random.default_rng(0)
    splits = {
        split: {
            f"{split}/{kind}/{number:03d}.png": rng.integers(0, 256, (*SIZE, 3), np.uint8)
            for number, kind in ((first + i, ("ant", "bee")[i % 2]) for i in range(count))
        }
        for split, first, count in (("train", 0, 30), ("test", 100, 7))
    }
    return named_data(tmp_path / "data", splits)


def names_of(data: DataSet) -> list[str]:
    return [name for name, _ in rows_of(data.root, data, "name")]


def rows_of(root, data: DataSet, column: str) -> list[tuple]:
    """(value, id) of every row in the order of the files."""
    shards = [shard for split in data.splits.values() for shard in split.shards]
    tables = [pq.read_table(root / shard.path.name) for shard in shards]
    return [
        pair
        for table in tables
        for pair in zip(table[column].to_pylist(), table["id"].to_pylist(), strict=True)
    ]


def write_maps(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(SIZE, value_of(name), np.uint8)).save(path)
    return folder


def imported(folder: Path, data: DataSet, kind: MapKind = "map", **options) -> Sidecar:
    return import_maps(folder, data.root, folder.parent / "sidecar", kind=kind, **options).sidecar


def refusal(folder: Path, data: DataSet, kind: MapKind = "map", **options) -> str:
    with pytest.raises(UserError) as caught:
        imported(folder, data, kind, **options)
    message = str(caught.value)
    assert "\n" not in message
    left = [path.name for path in folder.parent.iterdir() if path.name.startswith("sidecar")]
    assert left == []
    return message


def test_every_image_has_its_own_map_in_the_row_of_the_image(data: DataSet, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(names_of(data)).tolist()
    sidecar = imported(write_maps(tmp_path / "maps", order), data, made_by="a test")
    names = rows_of(data.root, data, "name")
    maps = rows_of(sidecar.root, data, "map")
    assert [id_ for _, id_ in maps] == [id_ for _, id_ in names] == list(range(37))
    for (name, _), (encoded, _) in zip(names, maps, strict=True):
        pixels = decode_map(encoded)
        assert pixels.shape == SIZE and (pixels == value_of(name)).all()
    for split in data.splits.values():
        for shard in split.shards:
            theirs, ours = (
                pq.ParquetFile(root / shard.path.name) for root in (data.root, sidecar.root)
            )
            assert _groups(ours) == _groups(theirs)
    manifest = sidecar.manifest
    assert (manifest.kind, manifest.dtype, manifest.shape) == ("map", "float32", SIZE)
    assert (manifest.images, manifest.missing) == (data.fingerprint, 0)
    assert manifest.maker.text == "a test" and len(manifest.maker.sha256) == 64
    Sidecar.open(sidecar.root, data, verify=True)


def _groups(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def test_a_folder_for_each_split_tells_equal_names_apart(tmp_path: Path, named_data) -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    data = named_data(
        tmp_path / "data", {"train": {"001.jpg": pixels}, "test": {"001.jpg": pixels}}
    )
    folder = tmp_path / "maps"
    for number, split in enumerate(("train", "test")):
        (folder / split).mkdir(parents=True)
        np.save(folder / split / "001.npy", np.full(SIZE, number / 4))
    sidecar = imported(folder, data)
    found = [decode_map(encoded)[0, 0] for encoded, _ in rows_of(sidecar.root, data, "map")]
    assert found == [0, round(65535 / 4)]
    shutil.rmtree(tmp_path / "sidecar")
    shutil.rmtree(folder / "train")
    shutil.move(folder / "test" / "001.npy", folder / "001.npy")
    message = refusal(folder, data)
    assert "001.npy: two images are called so, 001.jpg of split train and 001.jpg of" in message


def test_missing_maps_are_counted_named_and_refused(data: DataSet, tmp_path: Path) -> None:
    names = names_of(data)
    lost = [names[3], names[20], names[33]]
    folder = write_maps(tmp_path / "maps", [name for name in names if name not in lost])
    write_maps(folder, ["stray/999.png"])
    message = refusal(folder, data)
    assert f"{folder}: no map for 3 of 37 images (2 of 30 in train, 1 of 7 in test)" in message
    assert all(name in message for name in lost)
    assert "stray/999.png" in message and "--allow-missing" in message
    result = import_maps(folder, data.root, tmp_path / "sidecar", kind="map", allow_missing=True)
    assert result.unused == ["stray/999.png"]
    sidecar = result.sidecar
    absent = [id_ for encoded, id_ in rows_of(sidecar.root, data, "map") if encoded is None]
    assert absent == [3, 20, 33] and sidecar.manifest.missing == 3
    Sidecar.open(sidecar.root, data, verify=True)


def test_maps_of_other_images_are_refused_even_if_missing_ones_may_be(
    data: DataSet, tmp_path: Path
) -> None:
    folder = write_maps(tmp_path / "maps", ["a/001.png", "b/001.png"])
    message = refusal(folder, data, allow_missing=True)
    assert "no map for 37 of 37 images" in message and "a/001.png" in message


def test_images_without_names_are_refused_with_the_remedy(tmp_path: Path, named_data) -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    data = named_data(tmp_path / "data", {"train": {"001.jpg": pixels}}, version=1)
    message = refusal(write_maps(tmp_path / "maps", ["001.png"]), data)
    assert "format version 1 does not keep the names" in message and "import again" in message


def test_two_maps_of_one_image_are_refused(data: DataSet, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    np.save(folder / "train" / "ant" / "000.npy", np.zeros(SIZE))
    assert "keep one map of an image" in refusal(folder, data)


@pytest.mark.parametrize(
    ("kind", "pixels", "reason"),
    [
        ("map", np.zeros((4, 5, 3), np.uint8), "has colours (RGB); expected one grey level"),
        ("labels_map", np.full(SIZE, 300, np.uint16), "labels from 300 to 300; expected 0 to 254"),
        ("labels_map", np.zeros((12, 10), np.uint8), "another shape than its image of 12 × 10"),
    ],
)
def test_a_map_that_is_none_is_named(
    data: DataSet, tmp_path: Path, kind: MapKind, pixels: np.ndarray, reason: str
) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    bad = folder / "train" / "bee" / "005.png"
    Image.fromarray(pixels).save(bad)
    message = refusal(folder, data, kind)
    assert message.startswith(f"{bad}: ") and reason in message


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(SIZE, 2.0), "values from 2 to 2; expected 0 to 1"),
        (np.full(SIZE, np.nan), "expected 0 to 1"),
        (np.zeros(SIZE, np.int64), "holds int64; expected uint8, uint16"),
        (np.zeros(5), "has shape (5,); expected (height, width)"),
        (np.array([["a"]]), "expected numbers"),
    ],
)
def test_numbers_that_are_no_map_are_named(
    data: DataSet, tmp_path: Path, values: np.ndarray, reason: str
) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    bad = folder / "train" / "ant" / "004"
    bad.with_suffix(".png").unlink()
    np.save(bad.with_suffix(".npy"), values)
    message = refusal(folder, data)
    assert message.startswith(f"{bad}.npy: ") and reason in message


def test_a_torn_map_is_named(data: DataSet, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    bad = folder / "test" / "ant" / "100.png"
    bad.write_bytes(bad.read_bytes()[:40])
    assert f"{bad}: cannot be read as PNG" in refusal(folder, data)


def test_labels_of_a_palette_and_of_few_bits_are_taken_as_they_are(
    data: DataSet, tmp_path: Path
) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    labels = np.arange(120, dtype=np.uint8).reshape(SIZE) % 3
    palette = Image.fromarray(labels, "L").convert("P")
    palette.putdata(labels.reshape(-1).tolist())
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(folder / "train" / "ant" / "000.png")
    palette.save(folder / "train" / "bee" / "001.png", bits=2)
    four = _grey_png_of_two_bits(labels)
    (folder / "train" / "ant" / "002.png").write_bytes(four)
    sidecar = imported(folder, data, "labels_map")
    maps = [encoded for encoded, _ in rows_of(sidecar.root, data, "map")]
    for number in (0, 1, 2):
        assert (decode_map(maps[number]) == labels).all()
    assert sidecar.manifest.num_classes == 1 + value_of("106.png")


def _grey_png_of_two_bits(labels: np.ndarray) -> bytes:
    """Written by hand: PNG (ISO/IEC 15948), colour type 0, bit depth 2, no filter."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width = labels.shape
    four = labels.reshape(height, width // 4, 4)
    packed = (four << np.array([6, 4, 2, 0], np.uint8)).sum(-1).astype(np.uint8)
    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, 2, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    )


def test_another_data_set_is_refused_with_both_named(
    data: DataSet, tmp_path: Path, named_data
) -> None:
    sidecar = imported(write_maps(tmp_path / "maps", names_of(data)), data)
    other = named_data(tmp_path / "other", {"train": {"1.png": np.ones((*SIZE, 3), np.uint8)}})
    with pytest.raises(UserError) as caught:
        Sidecar.open(sidecar.root, other)
    message = str(caught.value)
    assert str(sidecar.root) in message and str(other.root) in message
    assert data.fingerprint[:16] in message and other.fingerprint[:16] in message


def test_the_same_images_in_other_shards_are_refused(data: DataSet, tmp_path: Path) -> None:
    sidecar = imported(write_maps(tmp_path / "maps", names_of(data)), data)
    shard = data.split("test").entry.shards[0]
    cut = shard.model_copy(update={"row_groups": [3, 4]})
    entry = data.split("test").entry.model_copy(update={"shards": [cut]})
    splits = [data.manifest.splits[0], entry]
    manifest = data.manifest.model_copy(update={"splits": splits})
    with pytest.raises(UserError, match="holds the same images in other shards"):
        Sidecar.open(sidecar.root, DataSet(data.root, manifest))


def damage(root: Path, how: str) -> None:
    path = root / "train-00001-of-00003.parquet"
    if how == "torn":
        path.write_bytes(path.read_bytes()[:-50])
    elif how == "gone":
        path.unlink()
    else:
        content = json.loads((root / "sidecar.json").read_text())
        content |= {"version": {"version": 9}, "format": {"format": "x"}, "key": {"odd": 1}}[how]
        (root / "sidecar.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("torn", "bytes where sidecar.json says"),
        ("gone", "missing, although sidecar.json lists it"),
        ("version", "format version 9, but this mimlab reads"),
        ("format", "not the manifest of a mimlab sidecar"),
        ("key", "odd: Extra inputs are not permitted"),
    ],
)
def test_a_sidecar_that_is_none(data: DataSet, tmp_path: Path, how: str, reason: str) -> None:
    sidecar = imported(write_maps(tmp_path / "maps", names_of(data)), data)
    assert isinstance(sidecar.root, Path)
    damage(sidecar.root, how)
    with pytest.raises(UserError, match=reason):
        Sidecar.open(sidecar.root, data)


def test_the_fingerprint_is_of_pixels_and_ids(data: DataSet, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    first = imported(folder, data).fingerprint
    shutil.rmtree(tmp_path / "sidecar")
    again = folder / "train" / "ant" / "000.png"
    Image.open(again).save(again, compress_level=0)
    assert imported(folder, data).fingerprint == first
    shutil.rmtree(tmp_path / "sidecar")
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(again)
    assert imported(folder, data).fingerprint != first


SCRIPT = """
import sys
from mimlab.data import importing_maps
seen = []
def stop(done, total):
    seen.append(done)
    if done == 20:
        print("here", flush=True)
        import time; time.sleep(600)
importing_maps.import_maps(*sys.argv[1:4], kind="map", on_progress=stop)
"""


def test_an_import_killed_in_the_middle_leaves_no_sidecar_and_is_repeated(
    data: DataSet, tmp_path: Path
) -> None:
    folder = write_maps(tmp_path / "maps", names_of(data))
    out = tmp_path / "sidecar"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(data.root), str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.kill()
    process.stdout.close()
    assert process.wait(60) == -signal.SIGKILL
    assert not out.exists()
    (left,) = tmp_path.glob("sidecar.partial-*")
    assert any(left.glob("*.parquet"))
    with pytest.raises(UserError, match=r"no sidecar\.json"):
        Sidecar.open(left, data)
    Sidecar.open(imported(folder, data).root, data, verify=True)
    assert not list(tmp_path.glob("sidecar.partial-*"))


def test_the_command_says_what_it_made(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    folder = write_maps(tmp_path / "maps", [*names_of(data), "999.png"])
    out = tmp_path / "sidecar"
    arguments = ["data", "maps", folder, "--for", data.root, "--to", out, "--kind", "labels"]
    monkeypatch.setattr(sys, "argv", ["mimlab", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"{out}: 37 maps of 37 images, 108 classes" in said
    assert "1 maps are of no image: 999.png" in said
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{out}: exists already" in capsys.readouterr().err
