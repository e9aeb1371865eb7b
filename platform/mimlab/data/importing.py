"""Import: from what a team has to a data set."""

from __future__ import annotations

import itertools
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mimlab.data.fingerprint import combined, split_fingerprint
from mimlab.data.manifest import (
    MANIFEST,
    REJECTED,
    DataSet,
    Manifest,
    SizeRange,
    SplitEntry,
)
from mimlab.data.pieces import Source, SourceSplit
from mimlab.data.publishing import commit, publishing_at, sync_file
from mimlab.data.ray_data import ray_running, task_results
from mimlab.data.shard_files import ShardEntry
from mimlab.data.shards import shard_name
from mimlab.data.sorting import Reject, SplitPlan, Tally, sort_piece, write_bucket
from mimlab.data.sources import list_source
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, RemotePath, place_of, staged

EXAMPLES = 3

Progress = Callable[[int, int], None]
"""Takes (done, total); each image counts once when it is checked and once when it is written."""


@dataclass(frozen=True)
class ShardSize:
    """What a shard holds, about and seldom much more."""

    rows: int = 1 << 17
    bytes: int = 128 << 20
    """Of encoded images, as the source has them."""

    def count(self, split: SourceSplit) -> int:
        """Shards of a split."""
        return max(1, round(max(split.rows / self.rows, split.bytes / self.bytes)))


@dataclass
class Checked:
    """The source after round 1: sorted into runs and counted."""

    runs: list[list[str]]
    """Of each split."""
    bucket_rows: list[list[int]]
    """Accepted rows of each split's buckets."""
    rejects: list[tuple[str, Reject]] = field(default_factory=list)
    """(split, reject), in the order of the source."""
    converted: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)

    def add(self, number: int, split: str, tally: Tally) -> None:
        self.runs[number] += tally.runs
        pairs = zip(self.bucket_rows[number], tally.bucket_rows, strict=True)
        self.bucket_rows[number] = [a + b for a, b in pairs]
        self.rejects += [(split, reject) for reject in tally.rejects]
        self.converted += tally.converted
        self.widths += tally.widths
        self.heights += tally.heights
        self.labels += tally.labels


def import_data(
    source: str | PathLike[str] | RemotePath,
    out: str | PathLike[str] | RemotePath,
    *,
    seed: int = 0,
    splits: Mapping[str, str] | None = None,
    short_side: int | None = None,
    max_reject_share: float = 0.01,
    shards: ShardSize | None = None,
    on_progress: Progress | None = None,
) -> DataSet:
    """Import Hugging Face Parquet, WebDataset tars or a folder of images as the data set `out`.

    The rows of each split are permuted as a whole, by `seed`. `splits` names the splits where their
    files do not: name → pattern of Parquet or tar files, or folder of images. Images whose shorter
    side exceeds `short_side` pixels are re-encoded at that size. Both places are paths or URIs;
    while it runs, that of `out` needs the room of the data set twice. Runs on the Ray that the
    caller has started, whose nodes then must see both places, or on a local one. Raises UserError;
    whatever happens, `out` is either a whole data set or none.
    """
    source, out = _absolute(source), _absolute(out)
    found = list_source(source, splits)
    plans = [
        SplitPlan(
            name=split.name,
            seed=seed,
            buckets=(shards or ShardSize()).count(split),
            short_side=short_side,
        )
        for split in found.splits
    ]
    step = _stepper(2 * found.rows, on_progress)
    with publishing_at(out) as folder, ray_running():
        work = folder / "work"
        if isinstance(work, Path):
            work.mkdir()
        checked = _check(found, plans, work, step)
        _refuse_rejects(source, found, checked, max_reject_share)
        entries = _write(plans, checked, folder, step)
        _remove(work)
        _write_rejects(folder / REJECTED, checked.rejects)
        manifest = _manifest(found, checked, entries, seed=seed, short_side=short_side)
        commit(folder / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    return DataSet.open(out)


def _absolute(where: str | PathLike[str] | RemotePath) -> Place:
    place = place_of(where)
    return place.absolute() if isinstance(place, Path) else place


def _remove(folder: Place) -> None:
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.remove()


def _stepper(total: int, on_progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done, total)

    return step


def _check(
    found: Source, plans: list[SplitPlan], work: Place, step: Callable[[int], None]
) -> Checked:
    """Round 1."""
    checked = Checked([[] for _ in plans], [[0] * plan.buckets for plan in plans])
    items = [{"piece": piece.model_dump_json()} for piece in found.pieces]
    described = [plan.model_dump_json() for plan in plans]
    with task_results(sort_piece, items, {"work": str(work), "plans": described}) as results:
        for piece, result in zip(found.pieces, results, strict=True):
            tally = Tally.model_validate_json(result["tally"])
            if tally.failure:
                raise UserError(f"the import stopped: {tally.failure}")
            checked.add(piece.split, found.splits[piece.split].name, tally)
            # Rejected rows are not written, so they are done twice over.
            step(piece.rows + len(tally.rejects))
    return checked


def _refuse_rejects(source: Place, found: Source, checked: Checked, limit: float) -> None:
    count, rows = len(checked.rejects), found.rows
    if count > limit * rows:
        enough = min(1.0, math.ceil(100 * count / rows) / 100)
        raise UserError(
            f"{source}: {count} of {rows} images ({count / rows:.1%}) cannot be read, "
            f"more than the {limit:.1%} allowed:\n{_reasons(checked.rejects)}\n"
            f"Mend or remove them, or leave them out with --max-rejects {enough:g}"
        )
    for split, bucket_rows in zip(found.splits, checked.bucket_rows, strict=True):
        if not sum(bucket_rows):
            raise UserError(f"{source}: split {split.name} has no readable image")


def _reasons(rejects: list[tuple[str, Reject]]) -> str:
    """A line for each reason, the frequent ones first, with examples."""
    lines = []
    for reason, count in Counter(reject.reason for _, reject in rejects).most_common():
        sources = (reject.source for _, reject in rejects if reject.reason == reason)
        examples = ", ".join(itertools.islice(sources, EXAMPLES))
        more = ", …" if count > EXAMPLES else ""
        lines.append(f"  {count} × {reason}: {examples}{more}")
    return "\n".join(lines)


def _write(
    plans: list[SplitPlan], checked: Checked, folder: Place, step: Callable[[int], None]
) -> list[SplitEntry]:
    """Round 2."""
    items = list(_shard_items(plans, checked))
    folders = {"folder": str(folder), "work": str(folder / "work")}
    entries = []
    with task_results(write_bucket, items, folders) as results:
        pairs = zip(items, results, strict=True)
        for split, its_pairs in itertools.groupby(pairs, lambda pair: pair[0]["split"]):
            shards: list[ShardEntry] = []
            digests = _digests((result for _, result in its_pairs), shards, step)
            fingerprint = split_fingerprint(digests)
            rows = sum(shard.rows for shard in shards)
            entries.append(
                SplitEntry(name=split, rows=rows, fingerprint=fingerprint, shards=shards)
            )
    return entries


def _shard_items(plans: list[SplitPlan], checked: Checked) -> Iterator[dict[str, Any]]:
    """A task for every bucket that is not empty: only now is it known which ids it has."""
    first_id = 0
    for plan, runs, bucket_rows in zip(plans, checked.runs, checked.bucket_rows, strict=True):
        filled = [bucket for bucket, rows in enumerate(bucket_rows) if rows]
        for number, bucket in enumerate(filled):
            yield {
                "split": plan.name,
                "file": shard_name(plan.name, number, len(filled)),
                "runs": runs,
                "bucket": bucket,
                "first_id": first_id,
            }
            first_id += bucket_rows[bucket]


def _digests(
    results: Iterator[dict[str, Any]], shards: list[ShardEntry], step: Callable[[int], None]
) -> Iterator[bytes]:
    """The digests of a split's rows; notes each shard as it passes."""
    for result in results:
        if result["failure"]:
            raise UserError(f"the import stopped: {result['failure']}")
        shards.append(ShardEntry.model_validate_json(result["entry"]))
        step(shards[-1].rows)
        yield result["digests"]


def _write_rejects(target: Place, rejects: list[tuple[str, Reject]]) -> None:
    columns = {
        "split": [split for split, _ in rejects],
        "source": [reject.source for _, reject in rejects],
        "reason": [reject.reason for _, reject in rejects],
    }
    schema = pa.schema([(name, pa.string()) for name in columns])
    with staged(target) as path:
        pq.write_table(pa.table(columns, schema), path)
        sync_file(path)


def _manifest(
    found: Source,
    checked: Checked,
    entries: list[SplitEntry],
    *,
    seed: int,
    short_side: int | None,
) -> Manifest:
    return Manifest(
        fingerprint=combined((entry.name, entry.rows, entry.fingerprint) for entry in entries),
        images=sum(entry.rows for entry in entries),
        classes=_classes(found, checked.labels),
        splits=entries,
        width=size_range(checked.widths),
        height=size_range(checked.heights),
        seed=seed,
        short_side=short_side,
        rejects=len(checked.rejects),
        converted=dict(sorted(checked.converted.items())),
        ignored=found.ignored,
    )


def _classes(found: Source, labels: Counter[int]) -> list[str]:
    highest = max(labels, default=-1)
    if found.classes and highest >= len(found.classes):
        raise UserError(
            f"label {highest} has no name: the source names {len(found.classes)} classes, "
            f"0 to {len(found.classes) - 1}; correct classes.txt or the labels"
        )
    return found.classes or [str(label) for label in range(highest + 1)]


def size_range(counts: Counter[int]) -> SizeRange:
    """Minimum, lower median and maximum of counted values, of which there is at least one."""
    values = sorted(counts)
    until = itertools.accumulate(counts[value] for value in values)
    half = math.ceil(counts.total() / 2)
    median = next(value for value, rank in zip(values, until, strict=True) if rank >= half)
    return SizeRange(min=values[0], median=median, max=values[-1])
