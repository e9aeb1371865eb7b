"""`data.subset`: a part of the training split, the same one for every trial that names it.

A fraction or a number takes the images whose ids have the smallest hashes, so that a smaller subset
is part of every larger one. A trial then knows only the rows that were chosen: they are counted as
its images, make up its epochs, and are the only ones that are decoded.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int64
from pydantic import BeforeValidator, Field

from mimlab.data.manifest import DataSet, Split
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, opened
from mimlab_objectives.keys import key_of, sample_keys


def _told(value: Any) -> Any:
    """Class names in sorted order, since their order changes nothing. Raises ValueError."""
    match value:
        case bool():
            pass
        case int() if value >= 1:
            return value
        case float() if 0 < value < 1:
            return value
        case [*names] if names and all(isinstance(name, str) for name in names):
            return tuple(sorted(set(names)))
    raise ValueError(
        f"{json.dumps(value)} is no subset; expected a fraction above 0 and below 1, a number "
        "of images from 1 on, a list of class names, or null for all images"
    )


Subset = Annotated[
    Annotated[float, Field(gt=0, lt=1)]
    | Annotated[int, Field(ge=1)]
    | Annotated[tuple[str, ...], Field(min_length=1)],
    BeforeValidator(_told),
]
"""A fraction of the images, a number of them, or all images of some classes."""


@dataclass(frozen=True, eq=False)
class SubsetSplit(Split):
    """Some rows of a split, seen as a split: row r is the r-th that was chosen.

    Row groups without a chosen row do not exist for it. Memory is O(chosen rows).
    """

    chosen: Int64[np.ndarray, " rows"]
    """Rows of the whole split, ascending."""

    @property
    def num_rows(self) -> int:
        return len(self.chosen)

    def ids(self, rows: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        return super().ids(self.chosen[rows])

    @cached_property
    def rows_per_group(self) -> Int64[np.ndarray, " groups"]:
        return np.diff(self._starts)

    @cached_property
    def _starts(self) -> Int64[np.ndarray, " bounds"]:
        """Where each row group's rows begin in `chosen`, and the end."""
        return np.append(np.searchsorted(self._group_of, self._groups), len(self.chosen))

    @cached_property
    def _group_of(self) -> Int64[np.ndarray, " rows"]:
        """Row group of the whole split that each chosen row lies in."""
        return np.searchsorted(self._ends, self.chosen, "right")

    @cached_property
    def _groups(self) -> Int64[np.ndarray, " groups"]:
        """Row groups of the whole split that have a chosen row."""
        return np.unique(self._group_of)

    @cached_property
    def _ends(self) -> Int64[np.ndarray, " all_groups"]:
        return np.cumsum(self._whole.rows_per_group)

    @cached_property
    def _whole(self) -> Split:
        return Split(self.root, self.entry, self.first_id)

    def locate(self, group: int) -> tuple[Place, int]:
        return self._whole.locate(int(self._groups[group]))

    def kept(self, group: int) -> Int64[np.ndarray, " rows"]:
        whole = int(self._groups[group])
        first_row = self._ends[whole] - self._whole.rows_per_group[whole]
        return self.chosen[self._starts[group] : self._starts[group + 1]] - first_row


def training_split(data: DataSet, name: str, subset: Subset | None) -> Split:
    """The images that a trial trains on: a split, or the part of it that `subset` says.

    Raises UserError where the data set has no such split, class or number of images.
    """
    split = data.split(name)
    if subset is None:
        return split
    if isinstance(subset, tuple):
        chosen = _rows_of_classes(split, _labels(data, subset))
        if not len(chosen):
            raise UserError(f"split {name} has no image of {', '.join(subset)}")
    else:
        chosen = _rows_by_hash(split, _count(split, subset))
    return SubsetSplit(split.root, split.entry, split.first_id, chosen)


def _count(split: Split, subset: float | int) -> int:
    if isinstance(subset, float):
        return max(1, round(subset * split.num_rows))
    if subset > split.num_rows:
        raise UserError(
            f"{subset} images are more than the {split.num_rows} of split {split.name}; "
            "null takes all"
        )
    return subset


def _rows_by_hash(split: Split, count: int) -> Int64[np.ndarray, " rows"]:
    """The `count` rows whose ids have the smallest hashes; O(rows) memory while it chooses."""
    ids = split.ids(np.arange(split.num_rows))
    keys = sample_keys(key_of("subset"), ids, 0)
    return np.sort(np.argpartition(keys, count - 1)[:count])


def _labels(data: DataSet, names: tuple[str, ...]) -> list[int]:
    for name in names:
        if name not in data.classes:
            close = difflib.get_close_matches(name, data.classes, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(f"no class is called {name!r}; {hint}{_listing(data.classes)}")
    return [data.classes.index(name) for name in names]


def _listing(classes: list[str]) -> str:
    if not classes:
        return "the data set has no labels"
    shown = ", ".join(classes[:10])
    return f"There are {shown}" + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")


def _rows_of_classes(split: Split, labels: list[int]) -> Int64[np.ndarray, " rows"]:
    """Rows with one of these labels; reads the column of labels alone, a shard at a time."""
    found, first_row = [np.empty(0, np.int64)], 0
    for shard in split.shards:
        with opened(shard.path) as file:
            column = pq.read_table(file, columns=["label"])["label"].fill_null(-1)
        found.append(np.flatnonzero(np.isin(column.to_numpy(), labels)) + first_row)
        first_row += len(column)
    return np.concatenate(found)
