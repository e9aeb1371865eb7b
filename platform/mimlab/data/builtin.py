"""Data sets that need no download, made on first use."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from mimlab.data.fingerprint import combined, split_fingerprint
from mimlab.data.manifest import MANIFEST, VERSION, DataSet, Manifest, SizeRange, SplitEntry
from mimlab.data.publishing import publishing, write_durably
from mimlab.data.shards import shard_name, table_of, write_shard
from mimlab.storage.remote_path import Place, place_of
from mimlab_objectives.keys import fold, key_of

DIGITS_TRAIN_SHARE = 0.8


def resolve_images(name_or_path: str, cache: Path) -> Place:
    """The folder of a data set that a study names: a built-in by its name, else a path or a URI.

    A built-in is made in `cache` on first use, by whichever of several processes is first. The
    folder of a path is not looked into. Raises UserError for a URI that is none.
    """
    return built_in(name_or_path, cache) if name_or_path in BUILTINS else place_of(name_or_path)


def built_in(name: str, cache: Path) -> Path:
    """The folder of a built-in data set in `cache`, checked. Raises UserError."""
    folder = cache / f"{name}-{VERSION}"
    if not (folder / MANIFEST).is_file():
        with contextlib.suppress(FileExistsError), publishing(folder) as partial:
            BUILTINS[name](partial)
    DataSet.open(folder)
    return folder


def make_digits(folder: Path) -> None:
    """1,797 grey images of 8 × 8 in ten classes; of each class 80 % are `train`, the rest `test`.

    scikit-learn's copy of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and
    Kaynak, 1998); its 17 levels of grey are spread over 0 … 255. An image's name is its row there.
    """
    from sklearn.datasets import load_digits  # seconds to import, and seldom needed

    grey, digits = (np.asarray(part) for part in load_digits(return_X_y=True))
    pixels = np.rint(grey.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    numbers = np.arange(len(pixels))
    order = np.argsort(fold(np.full(len(pixels), key_of(0, "digits")), numbers))
    pixels, labels = pixels[order], digits[order].astype(np.int64)
    train = _head_of_each_class(labels, DIGITS_TRAIN_SHARE)
    entries, first_id = [], 0
    for name, members in (("train", train), ("test", ~train)):
        rows = table_of(
            [_png(image) for image in pixels[members]],
            labels[members].tolist(),
            [(8, 8)] * int(members.sum()),
            [f"{number:04d}" for number in order[members]],
        )
        shard, digests = write_shard(folder / shard_name(name, 0, 1), rows, first_id=first_id)
        first_id += shard.rows
        fingerprint = split_fingerprint([digests])
        entries.append(
            SplitEntry(name=name, rows=shard.rows, fingerprint=fingerprint, shards=[shard])
        )
    _write_manifest(folder, entries)


BUILTINS = {"digits": make_digits}


def _head_of_each_class(
    labels: Int64[np.ndarray, " rows"], share: float
) -> Bool[np.ndarray, " rows"]:
    """True for the first `share` of the rows of every class."""
    member = labels[:, None] == np.unique(labels)[None]  # (rows, classes)
    rank = (member.cumsum(axis=0) * member).sum(axis=1)  # 1, 2, … within the class
    return rank <= np.rint(share * member.sum(axis=0))[member.argmax(axis=1)]


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    # Stored, not compressed: the same bytes, and so fingerprint, with every version of zlib.
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


def _write_manifest(folder: Path, entries: list[SplitEntry]) -> None:
    side = SizeRange(min=8, median=8, max=8)
    manifest = Manifest(
        fingerprint=combined((entry.name, entry.rows, entry.fingerprint) for entry in entries),
        images=sum(entry.rows for entry in entries),
        classes=[str(digit) for digit in range(10)],
        splits=entries,
        width=side,
        height=side,
        seed=0,
        rejects=0,
        converted={},
        ignored=0,
    )
    write_durably(folder / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
