"""Data sets that need no download, made on first use."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mimlab.data.fingerprint import combined, split_fingerprint
from mimlab.data.manifest import MANIFEST, VERSION, Manifest, SizeRange, SplitEntry
from mimlab.data.publishing import publishing, write_durably
from mimlab.data.shards import shard_name, table_of, write_shard
from mimlab.errors import UserError
from mimlab_objectives.keys import fold, key_of

TRAIN_SHARE = 0.8


def make_digits(folder: Path) -> None:
    """1,797 grey images of 8 × 8 in ten classes; of each class 80 % are `train`, the rest `test`.

    scikit-learn's copy of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and
    Kaynak, 1998); its 17 levels of grey are spread over 0 … 255.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415: a second, for those who ask for it

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.argsort(fold(np.full(len(labels), key_of(0, "digits")), np.arange(len(labels))))
    train = _first_of_each_class(labels[order], TRAIN_SHARE)
    entries, first_id = [], 0
    for name, members in (("train", order[train]), ("test", order[~train])):
        rows = table_of(
            [_png(pixels[i]) for i in members], labels[members].tolist(), [(8, 8)] * len(members)
        )
        shard, digests = write_shard(folder / shard_name(name, 0, 1), rows, first_id=first_id)
        entries.append(
            SplitEntry(
                name=name,
                rows=shard.rows,
                fingerprint=split_fingerprint([digests]),
                shards=[shard],
            )
        )
        first_id += shard.rows
    _write_manifest(folder, entries)
