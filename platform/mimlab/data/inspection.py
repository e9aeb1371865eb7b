"""What a data set holds, for people and for scripts."""

from __future__ import annotations

from collections import Counter
from os import PathLike

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from mimlab.data.manifest import REJECTED, DataSet, SizeRange, Split
from mimlab.errors import UserError
from mimlab.storage.remote_path import RemotePath, opened


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SplitInspection(_Report):
    """One split."""

    name: str
    rows: int
    shards: int
    row_groups: int
    bytes: int
    fingerprint: str
    classes: dict[str, int]
    """Rows of every class, in the order of labels, also of those that have none here."""
    unlabelled: int


class Inspection(_Report):
    """One data set."""

    root: str
    fingerprint: str
    verified: bool
    """Whether hashes and fingerprint were computed again, and found right."""
    images: int
    bytes: int
    seed: int
    short_side: int | None
    """Pixels to which longer shorter sides were brought at import; null: images kept their size."""
    splits: list[SplitInspection]
    width: SizeRange
    height: SizeRange
    rejects: dict[str, int]
    """By reason."""
    converted: dict[str, int]
    """By reason."""
    ignored: int


def inspect(dataset: str | PathLike[str] | RemotePath, verify: bool = False) -> Inspection:
    """Check a data set (see `DataSet.open`) and say what it holds. Raises UserError."""
    data = DataSet.open(dataset, verify=verify)
    splits = [_split(split, data.classes) for split in data.splits.values()]
    manifest = data.manifest
    return Inspection(
        root=str(data.root),
        fingerprint=data.fingerprint,
        verified=verify,
        images=manifest.images,
        bytes=sum(split.bytes for split in splits),
        seed=manifest.seed,
        short_side=manifest.short_side,
        splits=splits,
        width=manifest.width,
        height=manifest.height,
        rejects=_rejects(data),
        converted=manifest.converted,
        ignored=manifest.ignored,
    )


def _split(split: Split, classes: list[str]) -> SplitInspection:
    counts = _label_counts(split)
    if strange := set(counts) - {None, *range(len(classes))}:
        raise UserError(f"{split.root}: split {split.name} has a label without a name: {strange}")
    return SplitInspection(
        name=split.name,
        rows=split.num_rows,
        shards=len(split.shards),
        row_groups=len(split.rows_per_group),
        bytes=sum(shard.bytes for shard in split.entry.shards),
        fingerprint=split.fingerprint,
        classes={name: counts[label] for label, name in enumerate(classes)},
        unlabelled=counts[None],
    )


def _label_counts(split: Split) -> Counter[int | None]:
    counts: Counter[int | None] = Counter()
    for shard in split.shards:
        with opened(shard.path) as stream:
            found = pq.read_table(stream, columns=["label"])["label"].value_counts()
        counts.update({row["values"]: row["counts"] for row in found.to_pylist()})
    return counts


def _rejects(data: DataSet) -> dict[str, int]:
    if not data.manifest.rejects:
        return {}
    file = data.root / REJECTED
    try:
        with opened(file) as stream:
            reasons = pq.read_table(stream, columns=["reason"])["reason"].to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    return dict(Counter(reasons).most_common())
